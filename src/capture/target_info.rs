//! What a snapshot holds on its process as a whole.

use super::scheduler::SchedulerState;
use crate::image::build_info::BuildInfo;
use crate::model::{ModuleInfo, TargetInfo};
use crate::process::{Resources, Usage};
use crate::runtime::GoProcess;

/// Of `process`, whose scheduler was in this state at the time `monotonic_ns` of its own clock.
pub(super) fn target_info(
    process: GoProcess<'_>,
    state: &SchedulerState,
    usage: Usage,
    resources: Resources,
    monotonic_ns: u64,
) -> TargetInfo {
    let GoProcess { target, program, runtime } = process;
    let process = target.process();
    TargetInfo {
        pid: process.pid,
        exe: process.exe.clone(),
        cmdline: process.cmdline.clone(),
        build_id: program.elf.go_build_id(),
        text: program.text_mapping(&process.exe),
        go_version: runtime.version.text.clone(),
        go_version_source: runtime.version_source.name(),
        arch: program.elf.arch().name(),
        module: program.build_info.as_ref().map(module_info).unwrap_or_default(),
        stripped: program.elf.section(".symtab").is_none(),
        gomaxprocs: state.gomaxprocs,
        os_threads: state.os_threads,
        uptime_ns: state.runtime_init_ns.map(|init| monotonic_ns.saturating_sub(init)),
        process_state: usage.state,
        cpu_ns: usage.cpu_ns,
        rss_bytes: usage.rss_bytes,
        resources,
    }
}

fn module_info(info: &BuildInfo) -> ModuleInfo {
    let setting = |key: &str| info.settings.get(key).cloned();
    ModuleInfo {
        package: info.package_path.clone(),
        path: info.main_path.clone(),
        version: info.main_version.clone(),
        vcs_revision: setting("vcs.revision"),
        vcs_time: setting("vcs.time"),
        vcs_modified: setting("vcs.modified").and_then(|text| text.parse().ok()),
        settings: info.settings.clone(),
    }
}
