//! How verifiers start this program as a helper of the sandbox for programs in replies.

use potstill_verify::VerifyOptions;
use potstill_verify::sandbox::Launcher;

/// The hidden command that makes this program a helper.
pub(crate) const HELPER: &str = "sandbox-helper";

/// The options with what only a running program knows.
pub(crate) fn ready(options: &VerifyOptions) -> VerifyOptions {
    let mut options = options.clone();
    // Where the system cannot say which file this program is, the verifier says that it cannot work.
    options.code.launcher = std::env::current_exe().ok().map(|program| Launcher { program, args: vec![HELPER.to_owned()] });
    options
}
