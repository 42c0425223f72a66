//! One file for each command.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod fetch;
pub(crate) mod new;
pub(crate) mod plan;
pub(crate) mod preview;
pub(crate) mod push;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod samples;
pub(crate) mod schema;
pub(crate) mod show;
mod target;
pub(crate) mod train;
pub(crate) mod verify;
