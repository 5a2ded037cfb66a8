#![cfg_attr(fuzzing, no_main)]
gospy_fuzz::target!("pclntab");
