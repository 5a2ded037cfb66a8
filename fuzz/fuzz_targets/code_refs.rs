#![cfg_attr(fuzzing, no_main)]
gospy_fuzz::target!("code_refs");
