//! The official Go client as a load: it sends and consumes through whatever happens to the brokers, and says at the end
//! whether all that was acknowledged came. Where Go is missing it is left out, loudly.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rq_proto::reliablequeue::TopicType;
use serde::Deserialize;

use crate::client::Client;
use crate::client_program::ClientProgram;
use crate::language::Language;

/// Until its first send is acknowledged.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// Until it has consumed what it is owed. It gives up sooner by itself.
const END_DEADLINE: Duration = Duration::from_mins(3);

/// What it sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sends {
    /// Messages that are to come.
    Plain,
    /// Half messages. Of some it ends the transaction, about the others it is asked, which takes the broker's immunity and its
    /// interval between checks; half of all are rolled back and must not come.
    HalfMessages,
}

impl Sends {
    /// The topic and the group.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "official",
            Self::HalfMessages => "official-transactions",
        }
    }

    fn kind(self) -> TopicType {
        match self {
            Self::Plain => TopicType::Normal,
            Self::HalfMessages => TopicType::Transaction,
        }
    }

    /// What the client is told besides its address and its names.
    #[must_use]
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["--keep-going"],
            Self::HalfMessages => &["--keep-going", "--in-transactions"],
        }
    }
}

/// The running client; none where Go is missing.
#[derive(Debug)]
pub struct GoClient(Option<ClientProgram>);

#[derive(Debug, Deserialize)]
struct Report {
    result: String,
    detail: String,
}

impl GoClient {
    /// Makes its topic and group at `endpoint`, a URI, and starts it for `address`, `HOST:PORT`, in the network namespace
    /// of the caller. Returns when it sends.
    pub async fn start(endpoint: &str, address: &str, sends: Sends) -> Result<Self> {
        let Some(build) = Language::of("go")?.build()? else { return Ok(Self(None)) };
        let admin = Client::new(endpoint, "official-admin")?;
        admin.create_topic(sends.name(), sends.kind(), 4).await?;
        admin.create_group(sends.name(), false).await?;
        let arguments = [sends.options(), &[sends.name(); 2]].concat();
        let mut running = ClientProgram::start(&build, address, &arguments, &[])?;
        report(&mut running, START_DEADLINE).await.context("the first send of the Go client")?;
        Ok(Self(Some(running)))
    }

    /// Ends its sending, lets it consume what it is owed, and returns what it says about that.
    pub async fn finish(self) -> Result<String> {
        let Some(mut running) = self.0 else { return Ok("not run".to_owned()) };
        running.close_input();
        report(&mut running, END_DEADLINE).await
    }
}

/// What it says next, if that is good.
async fn report(running: &mut ClientProgram, deadline: Duration) -> Result<String> {
    let line = tokio::time::timeout(deadline, running.next_line()).await;
    let line = line.context("the Go client says nothing")??;
    match line.as_deref().map(serde_json::from_str::<Report>) {
        Some(Ok(Report { result, detail })) if result == "pass" => Ok(detail),
        judged => bail!("the Go client failed: {judged:?}\n{}", running.last_errors()),
    }
}
