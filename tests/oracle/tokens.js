// Counts the tokens of texts: tokens.js TOKENIZER, with a JSON list of texts on standard input. Of each, the larger number
// of two vocabularies.
"use strict";

const { readFileSync } = require("node:fs");
const { getEncoding } = require(process.argv[2]);

const encodings = ["o200k_base", "cl100k_base"].map(getEncoding);
const texts = JSON.parse(readFileSync(0, "utf8"));
const counts = texts.map((text) => Math.max(...encodings.map((encoding) => encoding.encode(text, [], []).length)));
console.log(JSON.stringify(counts));
