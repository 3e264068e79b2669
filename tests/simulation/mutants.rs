//! Broken worlds. Each breaks one promise at a seam that the simulator owns (the disk, the messages, the
//! alarms); the oracle must notice. What it does not notice here, it would not notice in the object.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The disk loses every grant of credit: a crash forgets what was handed out.
    CreditIsForgotten,
    /// The disk keeps the money, and forgets which permits may be out.
    PermitsLeaveNoOrphans,
    /// A crash loses the last journal row, though it was acknowledged.
    LastRowIsLost,
    /// A load replays rows twice.
    RowsReplayTwice,
    /// A snapshot does not contain the windows.
    WindowsAreForgotten,
    /// A snapshot does not contain what was used of late.
    AgesAreForgotten,
    /// A load does not find the claims.
    ClaimsAreForgotten,
    /// The window covers 100 slots instead of 101: the object is told 100 s where 101 s are meant.
    WindowIsASlotShort,
    /// A report that comes twice is taken for the report of another permit.
    DuplicatesAreNew,
    /// Alarms never ring.
    AlarmsAreLost,
    /// The disk forgets who has a probe.
    ProbesAreForgotten,
    /// Minute counters are added twice.
    CountersAddTwice,
}

pub const ALL: [Mutant; 12] = [
    Mutant::ProbesAreForgotten,
    Mutant::AgesAreForgotten,
    Mutant::ClaimsAreForgotten,
    Mutant::CreditIsForgotten,
    Mutant::PermitsLeaveNoOrphans,
    Mutant::LastRowIsLost,
    Mutant::RowsReplayTwice,
    Mutant::WindowsAreForgotten,
    Mutant::WindowIsASlotShort,
    Mutant::DuplicatesAreNew,
    Mutant::AlarmsAreLost,
    Mutant::CountersAddTwice,
];
