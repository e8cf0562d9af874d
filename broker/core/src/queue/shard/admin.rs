//! Making and removing topics and groups, by hand or on first use.

use std::sync::Arc;

use super::{Shard, Step};
use crate::ids::{GroupId, Offset, TopicId};
use crate::queue::request::{
    ConsumeError, CreateGroup, CreateGroupError, CreateTopic, CreateTopicError, ExistsDifferently,
    GroupNotFound, GroupView, Name, Send, SendError, Subscribe, TooMany, TopicNotFound, TopicOnUseError,
    TopicView, UpdateGroup,
};
use crate::queue::settings::{GroupSettings, StartFrom, TopicKind, TopicSettings};
use crate::queue::state::{dead_letter_topic, is_dead_letter_topic};
use crate::record::Record;

impl Shard {
    pub(super) fn create_topic(
        &mut self,
        step: &mut Step<'_>,
        create: &CreateTopic,
    ) -> Result<TopicView, CreateTopicError> {
        if let Some((id, topic)) = self.state.topic(&create.name) {
            let TopicSettings { kind, queues } = topic.settings;
            if topic.settings == create.settings {
                return Ok(topic.view(id));
            }
            if kind != TopicKind::Undecided || queues != create.settings.queues {
                return Err(ExistsDifferently { name: Arc::clone(&create.name) }.into());
            }
            return Ok(self.decide(step, id, &create.name, create.settings));
        }
        self.room_for_messages()?;
        let id = self.put_topic(step, &create.name, create.settings)?;
        Ok(TopicView { name: Arc::clone(&create.name), id, settings: create.settings })
    }

    pub(super) fn delete_topic(&mut self, step: &mut Step<'_>, name: &Name) -> Result<(), TopicNotFound> {
        let (id, _) = self.state.topic(name).ok_or_else(|| TopicNotFound { topic: Arc::clone(name) })?;
        self.append(step, &Record::TopicDelete(id));
        self.forget_watched(|_, topic| topic == id);
        let halves = &self.state.held.halves;
        self.checks.forget_where(|half| halves.get(half).is_none());
        for ticket in self.polls.take_topic(id) {
            let gone = TopicNotFound { topic: Arc::clone(name) };
            step.answers.push((ticket, super::Answer::Receive(Err(gone.into()))));
        }
        Ok(())
    }

    pub(super) fn create_group(
        &mut self,
        step: &mut Step<'_>,
        create: &CreateGroup,
    ) -> Result<GroupView, CreateGroupError> {
        if let Some((id, group)) = self.state.group(&create.name) {
            return if group.settings == create.settings {
                Ok(group.view(id))
            } else {
                Err(ExistsDifferently { name: Arc::clone(&create.name) }.into())
            };
        }
        self.room_for_messages()?;
        let id = self.put_group(step, &create.name, create.settings.clone())?;
        Ok(GroupView { name: Arc::clone(&create.name), id, settings: create.settings.clone() })
    }

    pub(super) fn update_group(
        &mut self,
        step: &mut Step<'_>,
        update: &UpdateGroup,
    ) -> Result<GroupView, GroupNotFound> {
        let name = &update.name;
        let found = self.state.group(name).ok_or_else(|| GroupNotFound { group: Arc::clone(name) });
        let (id, group) = found?;
        let mut settings = group.settings.clone();
        settings.max_attempts = update.max_attempts.unwrap_or(settings.max_attempts);
        settings.backoff = update.backoff.clone().unwrap_or(settings.backoff);
        if settings != group.settings {
            self.append(step, &Record::GroupPut { id, name, settings: settings.clone() });
            // Other deliveries than before may be the last ones of their messages, and what was to become a dead letter may be
            // there for those who wait.
            self.watch_group(id);
            let consumed =
                self.state.groups.get(&id).into_iter().flat_map(|group| group.subscriptions.keys());
            for topic in consumed {
                self.polls.changed(*topic, id);
            }
        }
        Ok(GroupView { name: Arc::clone(name), id, settings })
    }

    pub(super) fn delete_group(&mut self, step: &mut Step<'_>, name: &Name) -> Result<(), GroupNotFound> {
        let (id, _) = self.state.group(name).ok_or_else(|| GroupNotFound { group: Arc::clone(name) })?;
        self.append(step, &Record::GroupDelete(id));
        self.forget_watched(|group, _| group == id);
        for ticket in self.polls.take_group(id) {
            let gone = GroupNotFound { group: Arc::clone(name) };
            step.answers.push((ticket, super::Answer::Receive(Err(gone.into()))));
        }
        Ok(())
    }

    pub(super) fn subscribe(
        &mut self,
        step: &mut Step<'_>,
        subscribe: &Subscribe,
    ) -> Result<GroupView, ConsumeError> {
        let group = self.group_on_use(step, &subscribe.group)?;
        for name in &subscribe.topics {
            if let Ok(topic) = self.topic_on_use(step, name, TopicKind::Undecided) {
                self.position(step, group, topic.id);
            }
        }
        let view = self.state.groups.get(&group).map(|state| state.view(group));
        view.ok_or_else(|| GroupNotFound { group: Arc::clone(&subscribe.group) }.into())
    }

    pub(super) fn resolve_topic(
        &mut self,
        step: &mut Step<'_>,
        name: &Name,
    ) -> Result<TopicView, TopicOnUseError> {
        self.topic_on_use(step, name, TopicKind::Undecided)
    }

    /// The topic of a send. One that was made on first use takes messages like its first one from then on.
    pub(super) fn topic_for_send(
        &mut self,
        step: &mut Step<'_>,
        send: &Send,
    ) -> Result<(TopicId, TopicSettings), SendError> {
        let kind = send.messages.first().map_or(TopicKind::Normal, |message| message.kind);
        let topic = self.topic_on_use(step, &send.topic, kind)?;
        if topic.settings.kind != TopicKind::Undecided {
            return Ok((topic.id, topic.settings));
        }
        self.room_for_messages()?;
        let decided = self.decide(step, topic.id, &topic.name, TopicSettings { kind, ..topic.settings });
        Ok((decided.id, decided.settings))
    }

    fn decide(
        &mut self,
        step: &mut Step<'_>,
        id: TopicId,
        name: &Name,
        settings: TopicSettings,
    ) -> TopicView {
        self.append(step, &Record::TopicPut { id, name, settings });
        TopicView { name: Arc::clone(name), id, settings }
    }

    pub(super) fn topic_on_use(
        &mut self,
        step: &mut Step<'_>,
        name: &Name,
        kind: TopicKind,
    ) -> Result<TopicView, TopicOnUseError> {
        if let Some((id, topic)) = self.state.topic(name) {
            return Ok(topic.view(id));
        }
        if !self.limits.auto_create_topics || is_dead_letter_topic(name) {
            return Err(TopicNotFound { topic: Arc::clone(name) }.into());
        }
        self.room_for_messages()?;
        let settings = TopicSettings { kind, queues: self.limits.default_queues };
        let id = self.put_topic(step, name, settings)?;
        Ok(TopicView { name: Arc::clone(name), id, settings })
    }

    pub(super) fn group_on_use(&mut self, step: &mut Step<'_>, name: &Name) -> Result<GroupId, ConsumeError> {
        if let Some((id, _)) = self.state.group(name) {
            return Ok(id);
        }
        if !self.limits.auto_create_groups || self.room_for_messages().is_err() {
            return Err(GroupNotFound { group: Arc::clone(name) }.into());
        }
        Ok(self.put_group(step, name, GroupSettings::default())?)
    }

    /// Gives a group a position in a topic, if it has none.
    pub(super) fn position(&mut self, step: &mut Step<'_>, group: GroupId, topic: TopicId) {
        let (Some(of), Some(in_topic)) = (self.state.groups.get(&group), self.state.topics.get(&topic))
        else {
            return;
        };
        if of.subscriptions.contains_key(&topic) {
            return;
        }
        // Dead letters are always read from the first: nobody subscribes to them before they are there.
        let latest = of.settings.start == StartFrom::Latest && !in_topic.dead_letters;
        let start: Vec<Offset> =
            in_topic.queues.iter().map(|queue| if latest { queue.next } else { queue.min }).collect();
        self.append(step, &Record::Subscribe { group, topic, start });
    }

    /// The dead-letter topic of a group, made when its first dead letter comes. Not bound by the limits: a dead
    /// letter must have a place.
    pub(super) fn dead_letter_topic(&mut self, step: &mut Step<'_>, group: GroupId) -> Option<TopicId> {
        let name = dead_letter_topic(&self.state.groups.get(&group)?.name);
        Some(self.topic_of_failures(step, &name))
    }

    /// The same, by its name.
    pub(super) fn topic_of_failures(&mut self, step: &mut Step<'_>, name: &str) -> TopicId {
        if let Some((id, _)) = self.state.topic(name) {
            return id;
        }
        let id = TopicId(self.state.last_topic.0 + 1);
        let settings = TopicSettings { kind: TopicKind::Normal, queues: 1 };
        self.append(step, &Record::TopicPut { id, name, settings });
        id
    }

    fn put_topic(
        &mut self,
        step: &mut Step<'_>,
        name: &str,
        settings: TopicSettings,
    ) -> Result<TopicId, TooMany> {
        if self.state.topics.len() >= self.limits.topics_max {
            return Err(TooMany { what: "topics", limit: self.limits.topics_max });
        }
        let id = TopicId(self.state.last_topic.0 + 1);
        // The gateway has refused what is out of range. A topic without queues would take no message.
        let queues = settings.queues.clamp(TopicSettings::QUEUES_MIN, TopicSettings::QUEUES_MAX);
        let settings = TopicSettings { queues, ..settings };
        self.append(step, &Record::TopicPut { id, name, settings });
        Ok(id)
    }

    fn put_group(
        &mut self,
        step: &mut Step<'_>,
        name: &str,
        settings: GroupSettings,
    ) -> Result<GroupId, TooMany> {
        if self.state.groups.len() >= self.limits.groups_max {
            return Err(TooMany { what: "consumer groups", limit: self.limits.groups_max });
        }
        let id = GroupId(self.state.last_group.0 + 1);
        self.append(step, &Record::GroupPut { id, name, settings });
        Ok(id)
    }
}
