//! `rq group`: create, list, describe, change and delete consumer groups.

mod reset;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use rq_proto::reliablequeue as pb;
use serde::Serialize;

use self::reset::Reset;
use crate::admin::{Admin, call};
use crate::args::{Global, duration};
use crate::failure::Failure;
use crate::output::{self, Output};

const AFTER_HELP: &str = "\
Examples:
  rq group create billing
  rq group create billing --fifo --max-attempts 5 --retry-delay 3s
  rq group create audit --retry-delay 1s,10s,1m --start latest
  rq group create slow --retry-exponential 1s,10m,2
  rq group update billing --max-attempts 8
  rq group describe billing
  rq group reset-offset billing --topic orders --to '1h ago'
  rq group delete billing";

/// `rq group …`.
#[derive(Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(crate) enum GroupCommand {
    /// Create a consumer group; done already is fine, if with the settings that it has now
    Create(Create),
    /// List consumer groups with their backlogs
    List {
        /// Only names that contain this text
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        name_contains: String,
    },
    /// Show one consumer group with its progress in each queue
    Describe {
        /// Name of the consumer group
        name: String,
    },
    /// Change how often and when a consumer group gets what failed; what is not named stays
    #[command(after_help = "\
What has had as many deliveries as are allowed now becomes a dead letter when its delivery ends, and what waits to be delivered
again at once: `rq dlq replay` gives it back. Push consumers that run hear of a change within five minutes: until then they ask
for the delays of before, and those of a FIFO group bury by the number of attempts of before. The order of a group and where it
begins are for good.")]
    Update(Update),
    /// Have a consumer group go on elsewhere in a topic: at its begin, its end or a time
    #[command(after_help = reset::AFTER_HELP)]
    ResetOffset(Reset),
    /// Delete a consumer group with its positions; messages stay
    Delete {
        /// Name of the consumer group
        name: String,
    },
}

/// `rq group create`.
#[derive(Args)]
pub(crate) struct Create {
    /// Name of the consumer group: letters, digits, `-`, `_`, `%`
    name: String,
    /// Deliver messages of one message group one after the other, in their order
    #[arg(long)]
    fifo: bool,
    #[command(flatten)]
    failures: Failures,
    /// Where the group begins in a topic that it never consumed
    #[arg(long, value_enum, default_value_t)]
    start: Start,
}

/// `rq group update`.
#[derive(Args)]
#[group(id = "change", required = true, multiple = true, args = ["max_attempts", "retry_delay", "retry_exponential"])]
pub(crate) struct Update {
    /// Name of the consumer group
    name: String,
    #[command(flatten)]
    failures: Failures,
}

/// What becomes of a message that failed.
#[derive(Args)]
struct Failures {
    /// Deliveries of a message before it becomes a dead letter, 1 to 1000 [of a new group: the broker's default]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    max_attempts: Option<u32>,
    /// Delay before the next delivery of a failed message; several, separated by commas, are for the first,
    /// the second… failure, the last one for all further [of a new group: the broker's default, growing]
    #[arg(long, value_delimiter = ',', value_parser = duration, value_name = "DURATION")]
    retry_delay: Vec<Duration>,
    /// The same growing: the first delay, the longest, and the factor between two
    #[arg(long, value_parser = growing, conflicts_with = "retry_delay", value_name = "FIRST,LONGEST,FACTOR")]
    retry_exponential: Option<Growing>,
}

/// Delays that grow.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Growing {
    first: Duration,
    longest: Duration,
    factor: f64,
}

fn growing(text: &str) -> Result<Growing, &'static str> {
    const FORM: &str = "give the first delay, the longest and the factor, as in 1s,10m,2";
    let mut parts = text.split(',').map(str::trim);
    let (Some(first), Some(longest), Some(factor), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(FORM);
    };
    let part = |text| duration(text).map_err(|_| FORM);
    Ok(Growing { first: part(first)?, longest: part(longest)?, factor: factor.parse().map_err(|_| FORM)? })
}

/// Where a new group begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Start {
    /// At the oldest message kept
    #[default]
    Earliest,
    /// At the next message to come
    Latest,
}

/// A group as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: String,
    fifo: bool,
    max_attempts: u32,
    retry: Option<Retry>,
    start: Start,
    backlog: u64,
    dead_letters: u64,
    expired: u64,
    last_used_ms: i64,
    idle: Option<Idle>,
    progress: Vec<Progress>,
}

/// What keeps the log from being dropped: a group that owes messages and does not consume them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Idle {
    group: String,
    topic: String,
    idle_ms: u64,
    pinned_bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase", rename_all_fields = "camelCase")]
enum Retry {
    Exponential { initial_ms: u64, max_ms: u64, multiplier: f64 },
    Customized { delays_ms: Vec<u64> },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    topic: String,
    queue: u32,
    next_offset: i64,
    ready: u64,
    in_flight: u64,
    waiting: u64,
}

/// Runs the command.
pub(crate) async fn run(global: &Global, command: GroupCommand) -> Result<(), Failure> {
    let admin = Admin::connect(global).await?;
    match command {
        GroupCommand::Create(create) => {
            let group = Shown::from(call!(admin.create_group(create.request()))?);
            settled(global.output, "is there", &group)
        }
        GroupCommand::Update(update) => {
            let group = Shown::from(call!(admin.update_group(update.request()))?);
            settled(global.output, "is now", &group)
        }
        GroupCommand::List { name_contains } => {
            let listed = call!(admin.list_groups(pb::ListGroupsRequest { name_contains }))?;
            list(global.output, listed.groups.into_iter().map(Shown::from).collect())
        }
        GroupCommand::Describe { name } => {
            let group = call!(admin.describe_group(pb::DescribeGroupRequest { name }))?;
            describe(global.output, Shown::from(group))
        }
        GroupCommand::ResetOffset(reset) => reset::run(global, &admin, reset).await,
        GroupCommand::Delete { name } => {
            let deleted = call!(admin.delete_group(pb::DeleteGroupRequest { name: name.clone() }));
            deleted.map_err(|failure| failure.of_deletion("group", &name))?;
            match global.output {
                Output::Json => output::json(&serde_json::json!({ "name": name, "deleted": true })),
                Output::Table => output::line(&format!("consumer group {name} is deleted")),
            }
        }
    }
}

fn settled(output: Output, what: &str, group: &Shown) -> Result<(), Failure> {
    match output {
        Output::Json => output::json(group),
        Output::Table => output::line(&format!(
            "consumer group {} {what}: {}, {} attempts, retry {}",
            group.name,
            order(group.fifo),
            group.max_attempts,
            retry(group.retry.as_ref())
        )),
    }
}

impl Failures {
    fn exponential(&self) -> Option<pb::ExponentialRetry> {
        self.retry_exponential.map(|growing| pb::ExponentialRetry {
            initial_ms: growing.first.as_millis() as u64,
            max_ms: growing.longest.as_millis() as u64,
            multiplier: growing.factor,
        })
    }

    fn customized(&self) -> Option<pb::CustomizedRetry> {
        let delays_ms: Vec<u64> = self.retry_delay.iter().map(|delay| delay.as_millis() as u64).collect();
        (!delays_ms.is_empty()).then_some(pb::CustomizedRetry { delays_ms })
    }
}

impl Update {
    fn request(self) -> pb::UpdateGroupRequest {
        use pb::update_group_request::Retry;
        let exponential = self.failures.exponential().map(Retry::Exponential);
        let retry = exponential.or(self.failures.customized().map(Retry::Customized));
        let max_attempts = self.failures.max_attempts.unwrap_or(0);
        pb::UpdateGroupRequest { name: self.name, max_attempts, retry }
    }
}

impl Create {
    fn request(self) -> pb::CreateGroupRequest {
        use pb::create_group_request::Retry;
        let exponential = self.failures.exponential().map(Retry::Exponential);
        let start = match self.start {
            Start::Earliest => pb::StartFrom::Earliest,
            Start::Latest => pb::StartFrom::Latest,
        };
        pb::CreateGroupRequest {
            name: self.name,
            fifo: self.fifo,
            max_attempts: self.failures.max_attempts.unwrap_or(0),
            retry: exponential.or(self.failures.customized().map(Retry::Customized)),
            start_from: start.into(),
        }
    }
}

fn list(output: Output, groups: Vec<Shown>) -> Result<(), Failure> {
    if output == Output::Json {
        return output::json(&groups);
    }
    let rows = groups.into_iter().map(|group| {
        let in_flight: u64 = group.progress.iter().map(|queue| queue.in_flight).sum();
        let order = order(group.fifo).to_owned();
        let figures = [u64::from(group.max_attempts), group.backlog, in_flight, group.dead_letters];
        let idle = group.idle.map_or_else(|| "-".to_owned(), |idle| idle.shown());
        let figures = figures.into_iter().map(|figure| figure.to_string());
        [group.name, order].into_iter().chain(figures).chain([idle]).collect()
    });
    output::table(&["NAME", "ORDER", "MAX ATTEMPTS", "BACKLOG", "IN FLIGHT", "DEAD LETTERS", "IDLE"], rows)
}

fn describe(output: Output, group: Shown) -> Result<(), Failure> {
    if output == Output::Json {
        return output::json(&group);
    }
    output::fields(&[
        ("name", group.name),
        ("order", order(group.fifo).to_owned()),
        ("max attempts", group.max_attempts.to_string()),
        ("retry", retry(group.retry.as_ref())),
        ("starts at", format!("{:?}", group.start).to_lowercase()),
        ("backlog", group.backlog.to_string()),
        ("dead letters", group.dead_letters.to_string()),
        (
            "last used",
            if group.last_used_ms == 0 { "-".to_owned() } else { output::time(group.last_used_ms) },
        ),
        ("idle", group.idle.map_or_else(|| "no".to_owned(), |idle| idle.shown())),
        ("expired unread", group.expired.to_string()),
    ])?;
    output::line("")?;
    let rows = group.progress.into_iter().map(|row| {
        let figures = [row.ready, row.in_flight, row.waiting].map(|figure| figure.to_string());
        [row.topic, row.queue.to_string(), row.next_offset.to_string()].into_iter().chain(figures).collect()
    });
    output::table(&["TOPIC", "QUEUE", "NEXT OFFSET", "READY", "IN FLIGHT", "WAITING"], rows)
}

fn order(fifo: bool) -> &'static str {
    if fifo { "fifo" } else { "unordered" }
}

fn retry(retry: Option<&Retry>) -> String {
    let shown = |millis: &u64| humantime::format_duration(Duration::from_millis(*millis)).to_string();
    match retry {
        None => "-".to_owned(),
        Some(Retry::Exponential { initial_ms, max_ms, multiplier }) => {
            format!("after {}, times {multiplier}, at most {}", shown(initial_ms), shown(max_ms))
        }
        Some(Retry::Customized { delays_ms }) => {
            format!("after {}", delays_ms.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
    }
}

impl Idle {
    /// For the line of its group.
    fn shown(&self) -> String {
        let idle = humantime::format_duration(rounded(self.idle_ms));
        format!("{idle}, pins {} through {}", output::bytes(self.pinned_bytes), self.topic)
    }

    /// As a sentence with what to do.
    pub(crate) fn told(&self) -> String {
        let Self { group, topic, .. } = self;
        let idle = humantime::format_duration(rounded(self.idle_ms));
        let pinned = output::bytes(self.pinned_bytes);
        format!("{group} has not consumed {topic} for {idle} and pins {pinned}: let it consume, or delete it")
    }
}

/// A span as long as people want to read it: whole hours from one day on, else whole seconds.
fn rounded(millis: u64) -> Duration {
    let step = if millis < 86_400_000 { 1_000 } else { 3_600_000 };
    Duration::from_millis(millis - millis % step)
}

impl From<pb::IdleGroup> for Idle {
    fn from(idle: pb::IdleGroup) -> Self {
        let pb::IdleGroup { group, topic, idle_ms, pinned_bytes } = idle;
        Self { group, topic, idle_ms, pinned_bytes }
    }
}

impl From<pb::Group> for Shown {
    fn from(group: pb::Group) -> Self {
        let start = match group.start_from() {
            pb::StartFrom::Unspecified | pb::StartFrom::Earliest => Start::Earliest,
            pb::StartFrom::Latest => Start::Latest,
        };
        let retry = group.retry.map(|retry| match retry {
            pb::group::Retry::Exponential(policy) => Retry::Exponential {
                initial_ms: policy.initial_ms,
                max_ms: policy.max_ms,
                multiplier: policy.multiplier,
            },
            pb::group::Retry::Customized(policy) => Retry::Customized { delays_ms: policy.delays_ms },
        });
        let progress = group.progress.into_iter().map(|row| Progress {
            topic: row.topic,
            queue: row.queue,
            next_offset: row.next_offset,
            ready: row.ready,
            in_flight: row.in_flight,
            waiting: row.waiting,
        });
        Self {
            name: group.name,
            fifo: group.fifo,
            max_attempts: group.max_attempts,
            retry,
            start,
            backlog: group.backlog,
            dead_letters: group.dead_letters,
            expired: group.expired,
            last_used_ms: group.last_used_ms,
            idle: group.idle.map(Idle::from),
            progress: progress.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_retry_delay_is_a_customized_policy_of_one() {
        let create = Create {
            name: "g".to_owned(),
            fifo: false,
            failures: Failures {
                max_attempts: None,
                retry_delay: vec![Duration::from_secs(3)],
                retry_exponential: None,
            },
            start: Start::Latest,
        };
        let request = create.request();
        let policy = pb::CustomizedRetry { delays_ms: vec![3000] };
        assert_eq!(request.retry, Some(pb::create_group_request::Retry::Customized(policy)));
        assert_eq!(request.start_from(), pb::StartFrom::Latest);
        assert_eq!(request.max_attempts, 0, "0 takes the broker's default");
    }

    #[test]
    fn growing_delays_are_written_in_one() {
        let growing = |text| super::growing(text).ok();
        let (first, longest) = (Duration::from_secs(1), Duration::from_mins(10));
        assert_eq!(growing("1s, 10m,1.5"), Some(Growing { first, longest, factor: 1.5 }));
        for bad in ["1s", "1s,10m", "1s,10m,2,3", "soon,10m,2", "1s,10m,twice"] {
            assert_eq!(growing(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_idle_group_is_told_with_what_to_do() {
        let (group, topic) = ("billing".to_owned(), "orders".to_owned());
        let idle = Idle { group, topic, idle_ms: (9 * 24 + 3) * 3_600_000 + 5, pinned_bytes: 41 << 30 };
        assert_eq!(idle.shown(), "9days 3h, pins 41.0 GiB through orders");
        assert_eq!(
            idle.told(),
            "billing has not consumed orders for 9days 3h and pins 41.0 GiB: let it consume, or delete it"
        );
    }

    #[test]
    fn retry_policies_read_as_sentences() {
        let exponential = Retry::Exponential { initial_ms: 5000, max_ms: 7_200_000, multiplier: 2.0 };
        assert_eq!(retry(Some(&exponential)), "after 5s, times 2, at most 2h");
        assert_eq!(retry(Some(&Retry::Customized { delays_ms: vec![1000, 60_000] })), "after 1s, 1m");
    }
}
