//! `fuzz TARGET|all [--inputs N] [--seed S]`: see `gospy_fuzz::runner`.

fn main() -> std::process::ExitCode {
    gospy_fuzz::runner::main(std::env::args().skip(1))
}
