//! `rq log records`: the records of a log, one a line, read lazily.

use clap::Args;
use rq_core::ids::Lsn;
use rq_core::message::MessageContent;
use rq_core::record::{MessageRecord, Record, decode};
use serde::Serialize;

use super::Directory;
use crate::failure::Failure;
use crate::output::{self, Output};

/// `rq log records`.
#[derive(Args)]
pub(crate) struct Records {
    #[command(flatten)]
    directory: Directory,
    /// Begin at the frame of this LSN, or at the beginning of the segment of that number [default: the oldest segment]
    #[arg(long, value_name = "LSN")]
    from: Option<u64>,
    /// End after so many records
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
}

/// A record as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    lsn: u64,
    epoch: u32,
    log_time_ms: u64,
    bytes: usize,
    record: String,
}

/// Runs the command.
pub(super) fn run(output: Output, records: &Records) -> Result<(), Failure> {
    let inspection = records.directory.open()?;
    let oldest = inspection.segments.first().map_or(Lsn(0), |segment| segment.base);
    let mut left = records.limit;
    for frame in inspection.frames(records.from.map_or(oldest, Lsn)) {
        let frame = frame.map_err(|error| records.directory.failed(&error))?;
        let frame = frame.frame();
        for (lsn, bytes) in frame.records().take(left) {
            left -= 1;
            let shown = Shown {
                lsn: lsn.0,
                epoch: frame.epoch.0,
                log_time_ms: frame.log_time.0,
                bytes: bytes.len(),
                record: sentence(bytes),
            };
            match output {
                Output::Json => output::json_line(&shown)?,
                Output::Table => {
                    let time = output::time(shown.log_time_ms.cast_signed());
                    output::line(&format!(
                        "{:>12}  {time}  {:>8} B  {}",
                        shown.lsn, shown.bytes, shown.record
                    ))?;
                }
            }
        }
        if left == 0 {
            break;
        }
    }
    Ok(())
}

/// What a record says. Bodies of messages are left out.
fn sentence(bytes: &[u8]) -> String {
    match decode(bytes) {
        Ok(Record::Message(message)) => format!("Message {}", one(&message)),
        Ok(Record::Batch(messages)) => {
            format!("Batch [{}]", messages.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Ok(Record::Relocate { topic, queue, offset, record }) => {
            format!(
                "Relocate {{ topic: {topic}, queue: {queue}, offset: {offset}, bytes: {} }}",
                record.len()
            )
        }
        Ok(record) => format!("{record:?}"),
        Err(error) => format!("not understood: {error}"),
    }
}

fn one(message: &MessageRecord<'_>) -> String {
    let MessageRecord { topic, queue, offset, content, .. } = message;
    let content = bytes::Bytes::copy_from_slice(content);
    let (id, body) = match MessageContent::decode(&content) {
        Ok(content) => (content.message_id.to_owned(), content.body.len()),
        Err(error) => (error.to_string(), 0),
    };
    format!("{{ topic: {topic}, queue: {queue}, offset: {offset}, id: {id}, body: {body} B }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_said_to_be_none() {
        assert!(sentence(&[0xff, 1]).starts_with("not understood"));
        assert!(sentence(&[]).starts_with("not understood"));
    }
}
