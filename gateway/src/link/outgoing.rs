//! What waits to be written on a link.

use bytes::Bytes;
use openshell_api::link::ToSupervisor;
use tokio::sync::mpsc;

/// What a link's writer takes its frames from. Control goes first: a message that announces bytes precedes them.
pub(crate) struct Outgoing {
    control: mpsc::Receiver<ToSupervisor>,
    data: mpsc::Receiver<Bytes>,
    /// Taken, and to be written once nothing is left that was said before it.
    held: Option<Bytes>,
}

/// One of them.
#[derive(Debug)]
pub(crate) enum Next {
    Control(ToSupervisor),
    Data(Bytes),
}

impl Outgoing {
    pub(super) fn new(control: mpsc::Receiver<ToSupervisor>, data: mpsc::Receiver<Bytes>) -> Self {
        Self { control, data, held: None }
    }

    /// The next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Next {
        loop {
            if let Some(frame) = self.held.take() {
                // Asked once more: between a look at one queue and a look at the other, both may have been filled. `try_recv` waits
                // for what is half in the queue.
                return match self.control.try_recv() {
                    Ok(message) => {
                        self.held = Some(frame);
                        Next::Control(message)
                    }
                    Err(_) => Next::Data(frame),
                };
            }
            tokio::select! {
                biased;
                Some(message) = self.control.recv() => return Next::Control(message),
                Some(frame) = self.data.recv() => self.held = Some(frame),
                else => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn said(through: u64) -> ToSupervisor {
        ToSupervisor::LogsStored { through }
    }

    #[tokio::test]
    async fn what_is_said_while_a_frame_is_held_goes_first() {
        let (control, control_out) = mpsc::channel(4);
        let (data, data_out) = mpsc::channel(4);
        let mut outgoing = Outgoing::new(control_out, data_out);
        outgoing.held = Some(Bytes::from_static(b"frame"));
        for through in [1, 2] {
            control.send(said(through)).await.unwrap();
        }
        data.send(Bytes::from_static(b"next")).await.unwrap();
        let mut order = Vec::new();
        for _ in 0..4 {
            order.push(match outgoing.next().await {
                Next::Control(ToSupervisor::LogsStored { through }) => through.to_string(),
                Next::Control(other) => panic!("{other:?}"),
                Next::Data(frame) => String::from_utf8(frame.to_vec()).unwrap(),
            });
        }
        assert_eq!(order, ["1", "2", "frame", "next"]);
    }

    /// Without the second look this fails within a second or two.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_frame_overtakes_its_announcement() {
        const FRAMES: u64 = 50_000;
        const LONGEST: Duration = Duration::from_secs(2);
        let (control, control_out) = mpsc::channel(64);
        let (data, data_out) = mpsc::channel(8);
        let mut outgoing = Outgoing::new(control_out, data_out);
        let noise = control.clone();
        let noisy = tokio::spawn(async move {
            while noise.send(said(0)).await.is_ok() {
                tokio::task::yield_now().await;
            }
        });
        let sending = tokio::spawn(async move {
            for number in 1..=FRAMES {
                let frame = Bytes::copy_from_slice(&number.to_be_bytes());
                if control.send(said(number)).await.is_err() || data.send(frame).await.is_err() {
                    return;
                }
            }
        });
        let began = Instant::now();
        let (mut announced, mut arrived) = (0, 0);
        while arrived < FRAMES && began.elapsed() < LONGEST {
            match outgoing.next().await {
                Next::Control(ToSupervisor::LogsStored { through }) => announced = announced.max(through),
                Next::Control(other) => panic!("{other:?}"),
                Next::Data(frame) => {
                    arrived = u64::from_be_bytes(frame[..].try_into().unwrap());
                    assert!(announced >= arrived, "frame {arrived} came after {announced}");
                }
            }
        }
        assert_ne!(arrived, 0, "no frame arrived");
        drop(outgoing);
        sending.await.unwrap();
        noisy.await.unwrap();
    }
}
