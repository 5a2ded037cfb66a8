//! What `gospy help TOPIC` prints: what several commands share, a screen each.

use super::help;
use crate::analysis::filter::HELP as FILTER_HELP;

/// The topics.
pub(super) const NAMES: [&str; 7] = ["filter", "keys", "rules", "freeze", "targets", "formats", "exit"];

/// Below the help of gospy itself.
pub(super) const OVERVIEW: &str = "\
gospy PID or gospy NAME is gospy summary. gospy alone lists what is running.
Topics: gospy help filter|keys|rules|freeze|targets|formats|exit";

/// The text of a topic, if there is one of that name.
pub(super) fn text(name: &str) -> Option<String> {
    Some(match name {
        "filter" => format!("--filter EXPR: which goroutines to show\n\n{FILTER_HELP}\n\n{FILTER_EXAMPLES}"),
        "keys" => KEYS.to_owned(),
        "rules" => RULES.to_owned(),
        "freeze" => FREEZE.to_owned(),
        "targets" => TARGETS.to_owned(),
        "formats" => FORMATS.to_owned(),
        "exit" => help::exit_statuses(),
        _ => return None,
    })
}

/// What there is help on.
pub(super) fn names() -> String {
    format!("the topics are {}; commands have help too", NAMES.join(", "))
}

const FILTER_EXAMPLES: &str = "\
Examples:
  gospy summary web --filter 'state=waiting and age>5m'
  gospy summary web --filter 'reason~chan and not system'
  gospy stack web --filter 'func~http.*Serve and age>1m'
  gospy stack web --filter '(worker or consumer) and label.tenant=acme'
  gospy top web --filter 'creator~main\\.'";

const KEYS: &str = "\
--sort of summary and stack
  id, state, reason, age, stack (bytes in use), function; count of groups

--sort of top
  groups:      count, change, growth (since the start or the mark), rate, age,
               function
  goroutines:  id, state, reason, stack

--sort of ps
  pid, name, user, container, goroutines, threads

--group=KEY of summary and stack, --group-by KEY of top, --by KEY of diff
  place        where the goroutine is
  object       the channel, lock or peer that it waits on (not diff)
  stack        the whole stack
  similar      the stack without what differs within the runtime (not top)
  start        the function that it started in
  creator      the go statement that created it
  state, reason (not top)
  label=KEY    the value of a pprof label of the program

--pc of summary
  user, current, start, creator: which of these places a line shows

--reverse reverses the order. --limit 0 shows all.
Durations: 500ms, 2s, 1m30s, 1.5h; a number alone is seconds.";

/// How `check` and `run` judge.
pub(super) const RULES: &str = "\
Growth
  --max-growth with --baseline compares numbers of goroutines. With --watch,
  every group with the same stack, and all goroutines together, are sampled, and
  a rate is fitted: the median of the slopes between all pairs of samples
  (Theil-Sen), with its 99.99 % confidence interval. Growth is steady when the
  whole interval is above 0, the lowest sample rises from quarter to quarter of
  the watch, each quarter lies as a whole above the one before the last, the
  highest sample still rises in the last quarter, and the fitted growth is 5
  goroutines or more. It fails when it exceeds --max-growth (default 0; a
  percentage is of all goroutines at the start). A load that goes up and down
  does not fail.

  Growth that can be neither shown nor excluded is not judged (status 8): a
  group that rises by less than 5, or only during part of the watch, like a pool
  that is still filling; a watch of less than 2 seconds; a load so noisy that
  growth by 10 goroutines (or a tenth of all, or what --max-growth allows) would
  go unnoticed. A rule that passes prints how much growth would have been
  detected. Watch for longer than the program takes to warm up.

Waits
  The runtime stamps a wait only at a garbage collection after it began, so what
  is known is how long a wait is at least and at most. --watch also measures
  goroutines that have not run for three intervals and longer. --max-wait fails
  when the least is too long, and is not judged while only the most is: since
  the stamp, the last collection, or the start of the program. It does not fail
  for a stopped program, in which every goroutine waits.

Leaks
  --no-leaks reads the heap as `gospy leaks` does, once, at the end of a check,
  and at each capture of gospy run. It fails on leaked goroutines, certain or
  confirmed, and says which. What --allow matches does not count. Where the heap
  cannot be read (a capture without it, JSON, standard input), it is not judged
  (status 8).

Growth of the heap
  --max-heap-growth 1MiB/m fails when the live heap, or what was allocated in a
  place, grows steadily by more. One sample is taken of each cycle of the
  collector, so that what is allocated and collected again is no growth; with
  fewer than 8 cycles it holds only if less was allocated at all, and is not
  judged otherwise (status 8). It needs --watch, or with gospy run
  --capture-every. The program is not stopped.

gospy run
  The same rules are applied to each capture of each Go program that the command
  is or starts; the worst counts. With --capture-every, a program is also judged
  as soon as it runs. --max-growth is measured from its first capture. It is
  enough that one program has a required function. The verdicts, and the stacks
  of what fails, are printed on standard error at the end. What happens after
  the last capture of a program is not seen. With --strict, an incomplete
  capture makes the rules not judged (status 8).";

const FREEZE: &str = "\
--freeze stops threads briefly, for exact stacks of running goroutines. Without
it, nothing is ever stopped.

  --freeze, --freeze=running   threads that run goroutines, one at a time,
                               for less than a millisecond each
  --freeze=all                 the whole program at one moment, for some
                               milliseconds

No signal is sent or lost. The kernel resumes everything when gospy exits or
takes too long. Threads that sleep in a system call that would fail with EINTR
are left asleep. The output says for how long the program stood still.

What remains:
  * now and then a system call fails with EINTR all the same
  * a program that starts a set-user-ID program just then, stopped without
    root, starts it without its rights
  * a program under a seccomp filter is killed if the filter forbids
    restart_syscall(2). The profiles of Docker and Kubernetes allow it.
    gospy refuses such programs unless --freeze-seccomp is given.

Examples:
  gospy stack web --freeze
  gospy summary web --freeze=all
  gospy diff before.json web --freeze

docs/freeze.md has the evidence.";

const TARGETS: &str = "\
TARGET is a running Go program:

  4242          digits are a pid, also with --pid 4242 (-p)
  prometheus    anything else is a name, also with --name prometheus;
                --name 4242 is a program called 4242
  (nothing)     summary, stack, top, capture: the only Go program that runs

A name is compared with, in this order of preference: the whole of
  the executable's base name, the process name
  the path of the main module and its last element
  the container id (4 digits are enough), or its name with LXC and nspawn
  the Kubernetes pod, the pod's uid, the hostname in the container (as root)
and, where none is equal, with their beginnings.

Where several match, gospy asks on a terminal. Elsewhere it prints the list and
exits with status 2. A command's name is the command: for a program called top,
gospy summary top or gospy --name top.

--from FILE reads a capture, a core file, or what stack --json writes; - is
standard input. diff takes files, pids and names as they come.

Examples:
  gospy prometheus
  gospy top 4242
  gospy stack orders-7f9c4-x2x8p
  gospy diff before.capture orders
  gospy summary --from core.4242 --bin ./server";

const FORMATS: &str = "\
--json        one JSON object; unknown is null; schemas: gospy schema NAME
--folded      stack: one line per stack with its count, for flame graphs
--pprof FILE  stack: what runtime/pprof's goroutine profile would be
--markdown    diff: for a pull request
--junit FILE  check: JUnit XML
--github      check: annotations on GitHub Actions
-o FILE       capture: a capture, which every command reads with --from;
              with --uncompressed a core file
-o FILE       record: by its ending .svg, .html, .pb.gz, .json, .folded, or
              .gospyrec, which every command reads with --from FILE --at TIME

What comes from the program is escaped before it is printed: nothing in a name
can act on a terminal. Times are RFC 3339 in UTC, durations in JSON are ns.

Colour: --color auto|always|never, --no-color; NO_COLOR, CLICOLOR and
CLICOLOR_FORCE in the environment.
Width: the terminal's, or COLUMNS where there is none.

Examples:
  gospy summary web --json | jq '.goroutines.by_wait_reason'
  gospy stack web --pprof now.pb.gz && go tool pprof -http=: now.pb.gz
  gospy stack web --folded | inferno-flamegraph > goroutines.svg
  gospy schema check > check.schema.json";
