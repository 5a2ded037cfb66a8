// node speedscope.js BUNDLE FILE: what speedscope's own importer makes of FILE, as JSON: of each profile its name,
// unit, total, and stacks (frames from the outermost, separated by semicolons) with their own weights.
//
// BUNDLE is speedscope's page, one script without exports that expects a browser. So its importer is found by what it
// says before it is called, what it needs is initialised by hand, and the rest of the page may fail.
"use strict";
const fs = require("fs");
const vm = require("vm");

function replaced(source, what, by) {
    if (!source.includes(what)) throw new Error(`another speedscope: there is no ${what}`);
    return source.replace(what, () => by);
}

const [bundle, path] = process.argv.slice(2);
let source = fs.readFileSync(bundle, "utf8");
const [, importer] = /"Importing as speedscope json file"\),([\w$]+)\(/.exec(source);
source = replaced(source, '"use strict";(()=>{', `"use strict";(()=>{globalThis.imported=file=>${importer}(file);`);
// Parts of it are initialised when they are first needed.
source = replaced(
    source,
    "var re=(t,e)=>()=>(t&&(e=t(t=0)),e);",
    "globalThis.parts=[];var re=(t,e)=>{const part=()=>(t&&(e=t(t=0)),e);globalThis.parts.push(part);return part};",
);

// A browser of which everything is there and does nothing.
const anything = () =>
    new Proxy(function () {}, {
        get: (_, key) => (key === Symbol.toPrimitive ? () => "" : key === "length" ? 0 : anything()),
        apply: anything,
        construct: anything,
        set: () => true,
        has: () => true,
    });
const silent = { log() {}, warn() {}, error() {}, info() {}, assert() {} };
const page = { console: silent, TextDecoder, TextEncoder, URL, setTimeout() {}, requestAnimationFrame() {} };
for (const name of ["window", "document", "navigator", "localStorage", "Image", "FileReader", "matchMedia"]) {
    page[name] = anything();
}
page.location = { hash: "", protocol: "file:" };
page.performance = { now: () => 0 };
vm.createContext(page);
// Of the page itself nothing is wanted, so its errors do not matter.
function attempt(run) {
    try {
        run();
    } catch {}
}
attempt(() => vm.runInContext(source, page));
page.parts.forEach(attempt);

page.text = fs.readFileSync(path, "utf8");
const group = vm.runInContext("imported(JSON.parse(text))", page);
const profiles = group.profiles.map((profile) => {
    const stacks = {};
    const walk = (node, names) => {
        const weight = node.getSelfWeight();
        const stack = names.join(";");
        if (weight > 0) stacks[stack] = (stacks[stack] || 0) + weight;
        for (const child of node.children) walk(child, [...names, child.frame.name]);
    };
    walk(profile.getAppendOrderCalltreeRoot(), []);
    return { name: profile.getName(), unit: profile.getWeightUnit(), total: profile.getTotalWeight(), stacks };
});
process.stdout.write(JSON.stringify({ name: group.name, profiles }));
