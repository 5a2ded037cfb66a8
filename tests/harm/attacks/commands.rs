//! The commands of gospy and their modes, as they are typed.

/// How a command is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drive {
    /// Started, and left alone.
    Plain,
    /// On a terminal.
    Terminal,
    /// With clients that ask.
    Server,
    /// With messages on its standard input.
    Messages,
    /// It starts its target itself.
    Starts,
}

/// A command in one mode.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// What is typed; `PID` stands for the target's, `DIR` for a directory of its own.
    line: &'static str,
    pub(crate) drive: Drive,
}

impl Command {
    /// Whether it stops its target.
    pub(crate) fn stops(&self) -> bool {
        self.line.contains("--freeze")
    }

    /// Whether it writes files.
    pub(crate) fn writes(&self) -> bool {
        self.line.contains("DIR") && self.drive != Drive::Server
    }

    pub(crate) fn arguments(&self, pid: i32, directory: &str) -> Vec<String> {
        let word = |word: &str| word.replace("PID", &pid.to_string()).replace("DIR", directory);
        self.line.split(' ').map(word).collect()
    }
}

const fn plain(name: &'static str, line: &'static str) -> Command {
    Command { name, line, drive: Drive::Plain }
}

pub(crate) static COMMANDS: [Command; 38] = [
    plain("summary", "summary --pid PID"),
    plain("summary --freeze", "summary --freeze --pid PID"),
    plain("summary --freeze=all", "summary --freeze=all --json --pid PID"),
    plain("summary --watch", "summary --watch 200ms --pid PID"),
    plain("summary --html", "summary --pid PID --html DIR/page.html"),
    plain("stack", "stack --all --system --pid PID"),
    plain("stack --freeze=all", "stack --all --freeze=all --pid PID"),
    plain("stack --pprof", "stack --pid PID --pprof DIR/stacks.pb.gz"),
    plain("waits", "waits --pid PID --graph DIR/waits.svg"),
    plain("waits --freeze=all", "waits --freeze=all --pid PID"),
    plain("why", "why --pid PID"),
    plain("leaks", "leaks --pid PID"),
    plain("leaks --freeze=all", "leaks --freeze=all --pid PID"),
    plain("heap", "heap --pid PID"),
    plain("heap --profile", "heap --pid PID --profile DIR/heap.pb.gz"),
    plain("heap --watch", "heap --pid PID --watch 500ms --interval 50ms"),
    plain("heap --objects", "heap --objects --pid PID"),
    plain("heap --objects --freeze=all", "heap --objects --freeze=all --pid PID"),
    plain("contention", "contention --pid PID"),
    plain("var", "var main.progress main.counters --pid PID"),
    plain("capture", "capture --pid PID -o DIR/one.gospy"),
    plain("capture --freeze=all", "capture --freeze=all --pid PID -o DIR/one.gospy"),
    plain("capture --heap", "capture --heap --pid PID -o DIR/heap.gospy"),
    plain("capture --heap --freeze=all", "capture --heap --freeze=all --pid PID -o DIR/heap.gospy"),
    plain("capture --repeat", "capture --repeat 3 --interval 20ms --pid PID -o DIR/more.gospy"),
    plain("check --watch", "check --pid PID --watch 500ms --interval 50ms --no-leaks --junit DIR/check.xml"),
    plain("record", "record --pid PID -d 250ms --rate 50 --idle -o DIR/where.pb.gz --timeline DIR/when.json"),
    plain("record .gospyrec", "record --pid PID -d 250ms --rate 50 -o DIR/all.gospyrec"),
    plain("record --cpu", "record --cpu --pid PID -d 250ms -o DIR/cpu.pb.gz"),
    plain("record --ring", "record --pid PID -d 250ms --rate 50 --ring 10s -o DIR/ring.gospyrec"),
    plain("record --freeze=running", "record --freeze=running --pid PID -d 250ms --rate 50 --idle -o DIR/where.svg"),
    plain("top --json", "top --json -n 4 --interval 50ms --pid PID"),
    plain("doctor", "doctor --pid PID"),
    plain("ps", "ps"),
    Command { name: "top", line: "top -n 6 --interval 50ms --pid PID", drive: Drive::Terminal },
    Command { name: "serve", line: "serve --pid PID --listen unix:DIR/socket", drive: Drive::Server },
    Command { name: "mcp", line: "mcp --pid PID", drive: Drive::Messages },
    Command {
        name: "run",
        line: "run --timeout 60s --capture-every 100ms --freeze=all --output DIR --max-goroutines 10000 --",
        drive: Drive::Starts,
    },
];
