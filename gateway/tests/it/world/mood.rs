//! How a supervisor of the tests behaves.

/// How it behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Fine,
    /// Refuses to stage.
    Refuse,
    /// When it is to stage, asks for an artifact that is not part of that, too.
    AskForMore,
    /// Loses its link when it is to stage.
    LoseAtStage,
    /// Loses its link when it is to activate.
    LoseAtActivate,
    /// Keeps new credentials and loses its link before it can say so.
    LoseAtRekey,
    /// Loses its link when it is to forget what sessions contained.
    LoseAtReset,
    /// Takes no new credentials.
    KeepOldKeys,
    /// Learns of no other signing key, and does not say so.
    DeafToKeys,
    /// Of an older version: it can't be told of other signing keys, and takes nothing that is compressed.
    KnowsNoKeys,
}
