//! Attempts to leave that never reached the proxy, as decision records.

use std::sync::Arc;

use openshell_api::decision::{DecisionRecord, Stage, Subject};

use crate::active::Live;
use crate::intercept::{Reason, Refusal, Refusals};
use crate::record::Record;

/// Records refusals of the interception.
pub(super) struct Recorded {
    pub sandbox: String,
    pub live: Live,
    pub records: Arc<dyn Record>,
}

impl Refusals for Recorded {
    fn refused(&self, refusal: Refusal) {
        let Refusal { caller, destination, reason, repeated } = refusal;
        let (error, reason, hint) = match reason {
            Reason::Datagram => ("datagram_denied", "datagrams have no way out of the sandbox", Some("use TCP")),
            Reason::RawSocket => ("raw_socket_denied", "raw sockets have no way out of the sandbox", Some("use TCP")),
            Reason::PacketSocket => {
                ("packet_socket_denied", "packet sockets have no way out of the sandbox", Some("use TCP"))
            }
            Reason::IoUring => (
                "io_uring_denied",
                "nobody sees what io_uring does",
                Some("use ordinary system calls; programs fall back"),
            ),
            Reason::ForeignEntry => {
                ("foreign_entry_denied", "32-bit and x32 system calls are closed", Some("run a 64-bit program"))
            }
            Reason::UnknownCaller => ("caller_unknown", "the kernel does not say which program connects", None),
            Reason::Failed => ("capture_failed", "the connection could not be led to the proxy", None),
        };
        let process = caller.map(|caller| caller.record()).unwrap_or_default();
        let subject = Subject { sandbox: &self.sandbox, process, host: &destination.host, port: destination.port };
        let record = DecisionRecord::unanswered(subject, Stage::Connect, self.live.load().generation);
        self.records.record(&DecisionRecord {
            error: Some(error.to_owned()),
            reason: Some(match repeated {
                0 => reason.to_owned(),
                more => format!("{reason} ({more} more like it since the last record)"),
            }),
            hint: hint.map(str::to_owned),
            ..record
        });
    }
}
