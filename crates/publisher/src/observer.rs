//! What the publisher does, step by step, for whoever measures it.

/// What the publisher does, step by step, for whoever measures it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is a connection.
    Connected,
    /// There is none any more.
    Disconnected,
    /// The stream was found to hold everything up to this event. Publishing goes on from there.
    Resumed(u64),
    /// This event is about to be sent.
    Sending(u64),
    /// It was handed to the connection.
    Sent(u64),
    /// The broker has it, and everything before it.
    Acknowledged(u64),
    /// This position is about to be remembered on the disk.
    Remembering(u64),
    /// It is: told at the start too, of what was remembered before.
    Remembered(u64),
    /// Publishing does not go on, in words; and whether somebody has to change something.
    Trouble {
        /// What is wrong.
        problem: String,
        /// Whether it needs somebody. False: it is tried again by itself.
        refused: bool,
    },
    /// The bucket holds what all events up to this one made of it.
    BucketAt(u64),
    /// The bucket is not kept up, in words. Empty: it is again.
    BucketTrouble(String),
}

/// Hears of each step, at once and in order. It is called from the midst of things: it must not block.
pub trait Observer: Send + Sync {
    /// A step was made.
    fn step(&self, step: Step);
}
