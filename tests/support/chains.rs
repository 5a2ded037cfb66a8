//! Which stacks `fx churn` can have; see `chainRule` in `fixtures/fx/churn.go`.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

pub struct ChainRule {
    roots: HashSet<String>,
    edges: HashMap<String, HashSet<String>>,
}

impl ChainRule {
    /// From the answer to `truth`.
    pub fn from_truth(truth: &Value) -> ChainRule {
        let rule = &truth["rule"];
        ChainRule {
            roots: names(&rule["roots"]),
            edges: rule["edges"]
                .as_object()
                .expect("only churn has a rule")
                .iter()
                .map(|(caller, callees)| (caller.clone(), names(callees)))
                .collect(),
        }
    }

    /// Checks a whole stack, innermost function first. Stacks without a function of package
    /// main are those of the runtime's own goroutines, and pass.
    pub fn check(&self, functions: &[&str]) -> Result<(), String> {
        let is_main = |name: &&str| name.starts_with("main.");
        let Some(first) = functions.iter().position(is_main) else {
            return Ok(());
        };
        // The outermost end is never of package main.
        let length = functions[first..].iter().take_while(|name| is_main(name)).count();
        let outside = &functions[first + length..];
        // A coroutine is started by iter.Pull rather than by a go statement.
        let may_be_outside = |name: &&str| name.starts_with("runtime.") || name.starts_with("iter.Pull");
        if let Some(stray) = outside.iter().find(|name| !may_be_outside(name)) {
            return Err(format!("{stray} is outside package main in {functions:?}"));
        }
        let mut chain = functions[first..first + length].iter().rev().peekable();
        let wrapper = chain.next_if(|name| is_wrapper(name));
        // Not run yet, or interrupted before it got any further.
        let inside = &functions[..first];
        if wrapper.is_some() && length == 1 && inside.iter().all(|name| name.starts_with("runtime.asyncPreempt")) {
            return Ok(());
        }
        let root = chain.next();
        let Some(mut caller) = root.filter(|root| self.roots.contains(**root)) else {
            return Err(format!("{root:?} is no root in {functions:?}"));
        };
        for callee in chain {
            if !self.edges.get(*caller).is_some_and(|callees| callees.contains(*callee)) {
                return Err(format!("{caller} does not call {callee} in {functions:?}"));
            }
            caller = callee;
        }
        Ok(())
    }
}

fn names(list: &Value) -> HashSet<String> {
    let list = list.as_array().unwrap();
    list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// What the compiler puts around the call of a go statement with arguments.
fn is_wrapper(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.strip_prefix("gowrap")
        .or_else(|| last.strip_prefix("func"))
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}
