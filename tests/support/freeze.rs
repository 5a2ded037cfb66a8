//! Whether a program was let go of after a freeze.

use super::process::Running;

/// Whether somebody traces any of its threads: some are left alone.
pub fn is_traced(pid: i32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut texts = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    texts.any(|text| !text.contains("\nTracerPid:\t0\n"))
}

/// Its goroutines run, nobody traces it, and it answers.
pub fn runs(program: &mut Running) {
    assert!(!is_traced(program.pid()));
    let states = program.thread_states();
    assert!(!states.iter().any(|state| matches!(state, 't' | 'T')), "{states:?}");
    // A collection takes all of its threads.
    assert_eq!(program.ask("gc"), serde_json::json!({}));
}
