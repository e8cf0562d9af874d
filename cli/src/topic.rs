//! `rq topic`: create, list, describe and delete topics.

use clap::{Args, Subcommand, ValueEnum};
use rq_proto::reliablequeue as pb;
use serde::Serialize;

use crate::admin::{Admin, call};
use crate::args::Global;
use crate::confirm::confirm;
use crate::failure::Failure;
use crate::output::{self, Output};

const AFTER_HELP: &str = "\
Examples:
  rq topic create orders
  rq topic create orders --type fifo --queues 16
  rq topic list --name-contains ord
  rq topic describe orders -o json
  rq topic delete orders
  rq topic delete orders --yes";

/// `rq topic …`.
#[derive(Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(crate) enum TopicCommand {
    /// Create a topic; done already is fine, if with the same settings
    Create(Create),
    /// List topics with their figures
    List {
        /// Only names that contain this text
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        name_contains: String,
    },
    /// Show one topic with its queues and consumer groups
    Describe {
        /// Name of the topic
        name: String,
    },
    /// Delete a topic with all its messages; asks before, if it has any
    Delete(Delete),
}

/// `rq topic create`.
#[derive(Args)]
pub(crate) struct Create {
    /// Name of the topic: letters, digits, `-`, `_`, `%`
    name: String,
    /// Which messages it takes
    #[arg(long = "type", value_enum, default_value_t)]
    kind: Kind,
    /// Number of message queues, 1 to 256 [default: the broker's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256), value_name = "N")]
    queues: Option<u32>,
}

/// `rq topic delete`.
#[derive(Args)]
pub(crate) struct Delete {
    /// Name of the topic
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Type of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Messages without order, delay or transaction
    #[default]
    Normal,
    /// Messages of a message group are delivered in their order (to FIFO groups)
    Fifo,
    /// Messages with a delivery time
    Delay,
    /// Half messages, committed or rolled back
    Transaction,
    /// Made on first use: its first message decides
    #[value(skip)]
    Undecided,
}

/// A topic as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: String,
    r#type: Kind,
    topic_id: u32,
    messages: u64,
    delayed: u64,
    half_messages: u64,
    queues: Vec<ShownQueue>,
    groups: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownQueue {
    id: u32,
    min_offset: i64,
    next_offset: i64,
}

/// Runs the command.
pub(crate) async fn run(global: &Global, command: TopicCommand) -> Result<(), Failure> {
    let admin = Admin::connect(global).await?;
    match command {
        TopicCommand::Create(create) => {
            let topic = Shown::from(call!(admin.create_topic(create.request()))?);
            match global.output {
                Output::Json => output::json(&topic),
                Output::Table => output::line(&format!(
                    "topic {} is there: type {}, {} queues",
                    topic.name,
                    topic.r#type.name(),
                    topic.queues.len()
                )),
            }
        }
        TopicCommand::List { name_contains } => {
            let listed = call!(admin.list_topics(pb::ListTopicsRequest { name_contains }))?;
            list(global.output, listed.topics.into_iter().map(Shown::from).collect())
        }
        TopicCommand::Describe { name } => {
            let topic = call!(admin.describe_topic(pb::DescribeTopicRequest { name }))?;
            describe(global.output, &Shown::from(topic))
        }
        TopicCommand::Delete(asked) => delete(global.output, &admin, asked).await,
    }
}

async fn delete(output: Output, admin: &Admin, Delete { name, yes }: Delete) -> Result<(), Failure> {
    if !yes {
        let described = call!(admin.describe_topic(pb::DescribeTopicRequest { name: name.clone() }));
        let topic = described.map_err(|failure| failure.of_deletion("topic", &name))?;
        if let Some(lost) = lost(&Shown::from(topic)) {
            let question = format!("Delete topic {name} for good, with {lost}?");
            confirm(&question, false, &format!("`rq topic describe {name}`"))?;
        }
    }
    let deleted = call!(admin.delete_topic(pb::DeleteTopicRequest { name: name.clone() }));
    deleted.map_err(|failure| failure.of_deletion("topic", &name))?;
    match output {
        Output::Json => output::json(&serde_json::json!({ "name": name, "deleted": true })),
        Output::Table => output::line(&format!("topic {name} is deleted")),
    }
}

/// What goes with a topic, as people say it; none if that is nothing.
fn lost(topic: &Shown) -> Option<String> {
    let messages = |count: u64| if count == 1 { "1 message".to_owned() } else { format!("{count} messages") };
    match (topic.messages, topic.delayed + topic.half_messages) {
        (0, 0) => None,
        (kept, 0) => Some(messages(kept)),
        (0, held) => Some(format!("{} that nobody has seen yet", messages(held))),
        (kept, held) => Some(format!("{} and {held} that nobody has seen yet", messages(kept))),
    }
}

impl Create {
    fn request(self) -> pb::CreateTopicRequest {
        let kind = match self.kind {
            Kind::Normal => pb::TopicType::Normal,
            Kind::Fifo => pb::TopicType::Fifo,
            Kind::Delay => pb::TopicType::Delay,
            Kind::Transaction => pb::TopicType::Transaction,
            Kind::Undecided => pb::TopicType::Unspecified,
        };
        pb::CreateTopicRequest { name: self.name, r#type: kind.into(), queues: self.queues.unwrap_or(0) }
    }
}

fn list(output: Output, topics: Vec<Shown>) -> Result<(), Failure> {
    if output == Output::Json {
        return output::json(&topics);
    }
    let rows = topics.into_iter().map(|topic| {
        let groups = topic.groups.len().to_string();
        let (queues, messages) = (topic.queues.len().to_string(), topic.messages.to_string());
        vec![topic.name, topic.r#type.name().to_owned(), queues, messages, groups]
    });
    output::table(&["NAME", "TYPE", "QUEUES", "MESSAGES", "GROUPS"], rows)
}

fn describe(output: Output, topic: &Shown) -> Result<(), Failure> {
    if output == Output::Json {
        return output::json(topic);
    }
    output::fields(&[
        ("name", topic.name.clone()),
        ("type", topic.r#type.name().to_owned()),
        ("id", topic.topic_id.to_string()),
        ("messages", topic.messages.to_string()),
        ("waiting", waiting(topic)),
        ("groups", output::or_dash(&topic.groups.join(", "))),
    ])?;
    output::line("")?;
    let rows = topic.queues.iter().map(|queue| {
        let kept = queue.next_offset - queue.min_offset;
        [i64::from(queue.id), queue.min_offset, queue.next_offset, kept].map(|cell| cell.to_string()).to_vec()
    });
    output::table(&["QUEUE", "MIN OFFSET", "NEXT OFFSET", "MESSAGES"], rows)
}

/// Messages that nobody can see yet, as people say it.
fn waiting(topic: &Shown) -> String {
    let counts =
        [(topic.delayed, "for their time"), (topic.half_messages, "for the end of their transaction")];
    let waiting = counts.iter().filter(|(count, _)| *count > 0);
    let waiting: Vec<String> = waiting.map(|(count, what)| format!("{count} {what}")).collect();
    output::or_dash(&waiting.join(", "))
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Fifo => "fifo",
            Self::Delay => "delay",
            Self::Transaction => "transaction",
            Self::Undecided => "undecided",
        }
    }
}

impl From<pb::Topic> for Shown {
    fn from(topic: pb::Topic) -> Self {
        let kind = match topic.r#type() {
            pb::TopicType::Unspecified => Kind::Undecided,
            pb::TopicType::Normal => Kind::Normal,
            pb::TopicType::Fifo => Kind::Fifo,
            pb::TopicType::Delay => Kind::Delay,
            pb::TopicType::Transaction => Kind::Transaction,
        };
        let queues = topic.queues.into_iter().map(|queue| ShownQueue {
            id: queue.id,
            min_offset: queue.min_offset,
            next_offset: queue.next_offset,
        });
        Self {
            name: topic.name,
            r#type: kind,
            topic_id: topic.topic_id,
            messages: topic.messages,
            delayed: topic.delayed,
            half_messages: topic.half_messages,
            queues: queues.collect(),
            groups: topic.groups,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_with_a_topic_is_told_and_nothing_needs_no_question() {
        let lost = |messages, delayed, half_messages| {
            let topic = pb::Topic { messages, delayed, half_messages, ..pb::Topic::default() };
            lost(&Shown::from(topic))
        };
        assert_eq!(lost(0, 0, 0), None);
        assert_eq!(lost(1, 0, 0).unwrap(), "1 message");
        assert_eq!(lost(0, 2, 1).unwrap(), "3 messages that nobody has seen yet");
        assert_eq!(lost(5, 0, 1).unwrap(), "5 messages and 1 that nobody has seen yet");
    }
}
