//! A stream's input on its way to who reads it, counted since the stream began.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use openshell_api::link::FromSupervisor;
use tokio::sync::mpsc;

use super::super::outbox::Outbox;
use super::run::{Control, MAX_WAITING};

/// What arrived of a stream's input, and what was taken. Only the channel that the stream speaks on may bring input: another
/// one's was cut, and whatever it still brings is sent again on this one.
pub(super) struct Intake {
    control: mpsc::UnboundedSender<Control>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    channel: u64,
    /// Where input that is taken is told.
    outbox: Option<Outbox>,
    arrived: u64,
    ended: bool,
    taken: u64,
    /// What had arrived before this channel brought any: its window does not hold that.
    base: u64,
}

impl Intake {
    pub fn new(control: mpsc::UnboundedSender<Control>) -> Self {
        Self { control, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on input comes on this channel. Answers how much had arrived before, and whether input had ended.
    pub fn switch(&self, channel: u64) -> (u64, bool) {
        let mut state = self.state();
        state.channel = channel;
        state.outbox = None;
        state.base = state.arrived;
        (state.arrived, state.ended)
    }

    /// Whoever sends input hears from now on what is taken: what was taken meanwhile, at once.
    pub fn tell(&self, outbox: &Outbox) -> FromSupervisor {
        let mut state = self.state();
        state.outbox = Some(outbox.clone());
        FromSupervisor::ExecCredit { channel: state.channel, bytes: 0, taken: Some(state.taken) }
    }

    /// The channel that the stream speaks on.
    pub fn channel(&self) -> u64 {
        self.state().channel
    }

    /// A channel brings input; none: the end of input. Never blocks. A stream that has too much waiting is ended.
    pub fn put(&self, channel: u64, data: Bytes) {
        let mut state = self.state();
        if state.channel != channel {
            return;
        }
        state.arrived += data.len() as u64;
        state.ended |= data.is_empty();
        let control = if state.arrived - state.taken > MAX_WAITING { Control::Overrun } else { Control::Input(data) };
        // In the order of arrival, whichever channel it came on. One that is over takes no input: that is no error.
        let _ = self.control.send(control);
    }

    /// So much was taken. Answers where and what is to be told of it.
    pub fn take(&self, bytes: u64) -> Option<(Outbox, FromSupervisor)> {
        let mut state = self.state();
        let before = state.taken.max(state.base);
        state.taken += bytes;
        let bytes = state.taken.max(state.base) - before;
        let told = FromSupervisor::ExecCredit { channel: state.channel, bytes, taken: Some(state.taken) };
        state.outbox.clone().map(|outbox| (outbox, told))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::outbox::outbox;
    use super::*;

    fn told(message: Option<(Outbox, FromSupervisor)>) -> Option<(u64, u64, Option<u64>)> {
        message.map(|(_, message)| match message {
            FromSupervisor::ExecCredit { channel, bytes, taken } => (channel, bytes, taken),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn only_the_current_channel_brings_input_and_its_window_holds_only_that() {
        let (control, mut commands) = mpsc::unbounded_channel();
        let intake = Intake::new(control);
        let (outbox, _queue) = outbox();
        assert_eq!(intake.switch(1), (0, false));
        intake.tell(&outbox);
        intake.put(1, Bytes::from_static(b"abcdef"));
        assert_eq!(told(intake.take(2)), Some((1, 2, Some(2))));

        // Cut: four bytes wait, and what the old channel still brings is not taken.
        assert_eq!(intake.switch(2), (6, false));
        intake.put(1, Bytes::from_static(b"gh"));
        intake.put(1, Bytes::new());
        intake.put(2, Bytes::from_static(b"gh"));
        assert_eq!(told(intake.take(1)), None, "nobody listens yet");
        let FromSupervisor::ExecCredit { channel: 2, bytes: 0, taken: Some(3) } = intake.tell(&outbox) else {
            panic!("what was taken meanwhile is told")
        };
        assert_eq!(told(intake.take(4)), Some((2, 1, Some(7))), "three of them came on the first channel");
        assert_eq!(told(intake.take(1)), Some((2, 1, Some(8))));
        intake.put(2, Bytes::new());
        assert_eq!(intake.switch(3), (8, true));

        let mut arrived = Vec::new();
        while let Ok(Control::Input(data)) = commands.try_recv() {
            arrived.push(data);
        }
        assert_eq!(arrived, ["abcdef", "gh", ""]);
    }

    #[test]
    fn a_stream_that_does_not_read_is_ended_and_cuts_alone_do_not_end_it() {
        let (control, mut commands) = mpsc::unbounded_channel();
        let intake = Intake::new(control);
        let piece = Bytes::from(vec![0; 1 << 20]);
        for channel in 1..=MAX_WAITING >> 20 {
            intake.switch(channel);
            intake.put(channel, piece.clone());
            assert!(matches!(commands.try_recv(), Ok(Control::Input(_))), "{channel}");
        }
        intake.put(MAX_WAITING >> 20, Bytes::from_static(b"x"));
        assert!(matches!(commands.try_recv(), Ok(Control::Overrun)));
    }
}
