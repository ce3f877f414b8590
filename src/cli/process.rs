use rustix::io;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Keeps what this process will hold in memory from the disk and from the other processes of its user: it writes no core
/// dump, nobody but root may attach to it, and its files under `/proc` belong to root.
pub(super) fn close_to_others() -> io::Result<()> {
    // The hard limit too, so that nothing raises it again. A crash handler that takes dumps through a pipe does not ask
    // for the limit, but for the second.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
