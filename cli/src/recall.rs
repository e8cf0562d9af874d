//! `rq recall`: takes back a delayed message before its time.

use clap::Args;

use crate::args::{Global, filled};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, Output};

const AFTER_HELP: &str = "\
A message that is out cannot be recalled: the command ends with code 1. Recalled once more it is as before.

Examples:
  rq produce reminders --body 'pay' --delay 3days -o json | jq -r .recallHandle
  rq recall reminders HANDLE";

/// Where whoever types commands has the handle from.
const SOURCE_OF_HANDLES: &str = "as `rq produce -o json` prints it";

/// `rq recall`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Recall {
    /// Topic that the message was sent to
    topic: String,
    /// Its recall handle, as `rq produce -o json` printed it
    #[arg(value_parser = filled)]
    handle: String,
}

/// Runs the command.
pub(crate) async fn run(global: &Global, recall: Recall) -> Result<(), Failure> {
    let client = Client::connect(&global.endpoint, global.timeout).await?;
    let recalled = client.recall(&recall.topic, &recall.handle).await;
    let message_id = recalled.map_err(|error| Failure::from(error).of_typed(SOURCE_OF_HANDLES))?;
    match global.output {
        Output::Json => output::json(&serde_json::json!({
            "messageId": message_id, "topic": recall.topic, "recalled": true,
        })),
        Output::Table => output::line(&format!("message {message_id} of topic {} is recalled", recall.topic)),
    }
}
