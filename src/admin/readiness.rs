/// Whether calls should come to this replica, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet.
    Starting,
    /// Yes.
    Ready,
    /// No longer.
    Draining,
}

impl Readiness {
    /// Whether calls should come here.
    pub fn is_ready(self) -> bool {
        self == Self::Ready
    }

    /// The word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }

    /// The sentence for people.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Starting => "It is starting, and waits for its database if that is away.",
            Self::Ready => "It answers calls.",
            Self::Draining => "It is stopping: calls under way end, new ones should go elsewhere.",
        }
    }
}
