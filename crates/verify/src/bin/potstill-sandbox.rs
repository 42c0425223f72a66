//! A helper process of the sandbox, for the tests and benchmarks of this crate; the command line starts itself as one.

fn main() -> std::process::ExitCode {
    potstill_verify::sandbox::serve()
}
