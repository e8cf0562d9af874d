//! `rq promote`: another master, without a failure; or, where the copies with everything are gone for good, a master that
//! may lack acknowledged messages. The latter only by naming exactly what is given up.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::replica_client::ReplicaClient;
use serde::Serialize;
use thiserror::Error;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::admin::{Admin, call};
use crate::args::Global;
use crate::failure::Failure;
use crate::output::{self, Output};

/// How often it is looked whether the new master serves.
const POLL: Duration = Duration::from_millis(20);

/// A replica has so long to say what it knows of its master.
const PATIENCE: Duration = Duration::from_secs(2);
/// A master of whom a slave has heard nothing for so long does not answer.
const SILENT: Duration = Duration::from_secs(1);

const AFTER_HELP: &str = "\
Only a replica in the in-sync set can be promoted: it holds everything that was acknowledged. `rq status` shows them.

If no replica of that set will ever come back, --accept-data-loss makes another one the master: what was acknowledged
and is not on it is gone. Ask that replica itself with --endpoint, and name the shard and the epoch that ends, as it
tells them. It refuses while the master lives.

Examples:
  rq promote r1
  rq promote r1 --endpoint 10.0.0.7:8081 --accept-data-loss 0@7";

/// `rq promote`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Promote {
    /// Name of the replica that shall be master
    name: String,
    /// Make it the master although it may lack acknowledged messages, for good
    #[arg(long, value_name = "SHARD@EPOCH")]
    accept_data_loss: Option<Ending>,
}

/// The mastership that ends: of which shard, and its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ending {
    pub(crate) shard: u16,
    pub(crate) epoch: u32,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.shard, self.epoch)
    }
}

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("give SHARD@EPOCH, for example 0@7")]
pub(crate) struct EndingError;

impl FromStr for Ending {
    type Err = EndingError;

    fn from_str(text: &str) -> Result<Self, EndingError> {
        let (shard, epoch) = text.split_once('@').ok_or(EndingError)?;
        let shard = shard.parse().map_err(|_| EndingError)?;
        Ok(Self { shard, epoch: epoch.parse().map_err(|_| EndingError)? })
    }
}

/// What a promotion came to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Promoted<'a> {
    master: &'a str,
    epoch: u32,
    took_ms: u64,
}

impl<'a> Promoted<'a> {
    /// Of a promotion that began then.
    pub(crate) fn since(began: Instant, master: &'a str, epoch: u32) -> Self {
        Self { master, epoch, took_ms: began.elapsed().as_millis() as u64 }
    }

    /// Says who is master now.
    pub(crate) fn print(&self, global: &Global) -> Result<(), Failure> {
        let Self { master, epoch, took_ms } = self;
        match global.output {
            Output::Json => output::json(self),
            Output::Table => output::line(&format!("{master} is master, epoch {epoch}, after {took_ms} ms")),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(global: &Global, promote: Promote) -> Result<(), Failure> {
    let (name, began) = (promote.name.as_str(), Instant::now());
    match promote.accept_data_loss {
        None => hand_over(global, name).await,
        Some(ending) => {
            let epoch = accept_data_loss(global, name, ending).await?;
            Promoted::since(began, name, epoch).print(global)
        }
    }
}

/// Without a failure, through whatever process answers there; says who is master then.
pub(crate) async fn hand_over(global: &Global, name: &str) -> Result<(), Failure> {
    let began = Instant::now();
    let epoch = match switch(global, name).await {
        Err(failure) if failure.is_temporary() => {
            return Err(master_silent(global).await.unwrap_or(failure));
        }
        switched => switched?,
    };
    Promoted::since(began, name, epoch).print(global)
}

/// What the replica there knows of a master that does not answer; none if it hears of it, or does not answer itself.
async fn master_silent(global: &Global) -> Option<Failure> {
    let global = Global { timeout: PATIENCE.min(global.timeout), ..global.clone() };
    let mut replica = ReplicaClient::new(global.endpoint.connect(global.timeout).await.ok()?);
    let status = describe(&global, &mut replica).await.ok()?;
    let silent = Duration::from_millis(status.master_silent_ms?);
    (silent >= SILENT)
        .then(|| Failure::MasterSilent { silent: Duration::from_secs(silent.as_secs()), asked: status.name })
}

async fn switch(global: &Global, name: &str) -> Result<u32, Failure> {
    let admin = Admin::connect(global).await?;
    call!(admin.promote(pb::PromoteRequest { replica: name.to_owned() }))?;
    until(global, name, async || {
        let status = call!(admin.status(pb::StatusRequest {}))?;
        let serves = status.members.iter().any(|member| member.master && member.name == name);
        Ok(serves.then_some(status.epoch))
    })
    .await
}

/// At the replica itself.
async fn accept_data_loss(global: &Global, name: &str, ending: Ending) -> Result<u32, Failure> {
    let mut replica = ReplicaClient::new(global.endpoint.connect(global.timeout).await?);
    let status = describe(global, &mut replica).await?;
    if status.name != name {
        let reached = format!(
            "the replica at {} is {}: give the address of {name} itself with --endpoint",
            global.endpoint, status.name
        );
        return Err(Failure::Usage(reached));
    }
    let request = pb::AcceptDataLossRequest { shard: ending.shard.into(), epoch: ending.epoch };
    replica.accept_data_loss(within(global, request)).await?;
    until(global, name, async || {
        let status = describe(global, &mut replica.clone()).await?;
        Ok(status.serving.then_some(status.epoch))
    })
    .await
}

/// What the replica there says of itself.
pub(crate) async fn describe(
    global: &Global,
    replica: &mut ReplicaClient<Channel>,
) -> Result<pb::ReplicaStatus, Failure> {
    let described = replica.describe(within(global, pb::DescribeReplicaRequest {})).await;
    Ok(described?.into_inner())
}

fn within<T>(global: &Global, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(global.timeout);
    request
}

/// Waits until it serves, and tells in which epoch.
async fn until(
    global: &Global,
    name: &str,
    mut serves: impl AsyncFnMut() -> Result<Option<u32>, Failure>,
) -> Result<u32, Failure> {
    let began = Instant::now();
    loop {
        match serves().await {
            Ok(Some(epoch)) => return Ok(epoch),
            Ok(None) => {}
            // On the way from one master to the next a question may fail.
            Err(error) if error.is_temporary() => {}
            Err(error) => return Err(error),
        }
        if began.elapsed() >= global.timeout {
            let waited = humantime::format_duration(global.timeout);
            let late = format!("{name} is not serving as master after {waited}: see `rq status`");
            return Err(Status::deadline_exceeded(late).into());
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_named_by_shard_and_epoch() {
        assert_eq!("0@7".parse(), Ok(Ending { shard: 0, epoch: 7 }));
        for wrong in ["", "7", "@7", "0@", "0@-1", "a@7", "0@7@8"] {
            assert_eq!(wrong.parse::<Ending>(), Err(EndingError), "{wrong}");
        }
    }
}
