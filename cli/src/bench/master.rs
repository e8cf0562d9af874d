//! Who is master before and after a run, so that a promotion under load is seen. Never ends a run: other brokers do not say.

use rq_proto::reliablequeue as pb;
use serde::Serialize;

use crate::admin::{Admin, call};
use crate::args::Global;

/// A mastership.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Master {
    pub(super) name: String,
    pub(super) epoch: u32,
}

/// Another mastership at the end than at the beginning.
#[derive(PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Promotion {
    pub(super) from: Master,
    pub(super) to: Master,
}

impl Master {
    /// That of now; none where a broker is alone or does not say.
    pub(super) async fn of(global: &Global) -> Option<Self> {
        let admin = Admin::connect(global).await.ok()?;
        let status = call!(admin.status(pb::StatusRequest {})).ok()?;
        let master = status.members.into_iter().find(|member| member.master)?;
        Some(Self { name: master.name, epoch: status.epoch })
    }

    /// What happened between two looks.
    pub(super) fn change(before: Option<Self>, after: Option<Self>) -> Option<Promotion> {
        before.zip(after).filter(|(before, after)| before != after).map(|(from, to)| Promotion { from, to })
    }
}
