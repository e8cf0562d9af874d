//! A version of the configuration as JSON, for people to read.

use std::collections::BTreeMap;

use rq_core::config::{Config, FlushMode, Member};
use rq_core::ids::{Epoch, NoStoreId, Session, StoreId};
use serde::{Deserialize, Serialize};

/// Raised when an older release must not read it.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    format: u32,
    version: u64,
    epoch: u32,
    master: String,
    /// Session by store.
    in_sync: BTreeMap<String, u64>,
    members: BTreeMap<String, MemberDocument>,
    min_in_sync: u8,
    flush_mode: Mode,
    #[serde(skip_serializing_if = "Option::is_none")]
    unclean_epoch: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MemberDocument {
    name: String,
    address: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Mode {
    Sync,
    Async,
}

pub(crate) fn encode(config: &Config) -> Vec<u8> {
    let member =
        |member: &Member| MemberDocument { name: member.name.clone(), address: member.address.clone() };
    let document = Document {
        format: FORMAT,
        version: config.version,
        epoch: config.epoch.0,
        master: config.master.to_string(),
        in_sync: config.in_sync.iter().map(|(store, session)| (store.to_string(), session.0)).collect(),
        members: config.members.iter().map(|(store, it)| (store.to_string(), member(it))).collect(),
        min_in_sync: config.min_in_sync,
        flush_mode: match config.flush_mode {
            FlushMode::Sync => Mode::Sync,
            FlushMode::Async => Mode::Async,
        },
        unclean_epoch: config.unclean.map(|epoch| epoch.0),
    };
    // Nothing in it can fail to be JSON; an empty file would be refused when it is read.
    serde_json::to_vec_pretty(&document).unwrap_or_default()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Config, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if document.format != FORMAT {
        return Err(format!("it has format {}, and this release reads {FORMAT}", document.format));
    }
    let in_sync = document.in_sync.iter().map(|(id, session)| Ok((store(id)?, Session(*session))));
    let members = document
        .members
        .into_iter()
        .map(|(id, member)| Ok((store(&id)?, Member { name: member.name, address: member.address })));
    Ok(Config {
        version: document.version,
        epoch: Epoch(document.epoch),
        master: store(&document.master)?,
        in_sync: in_sync.collect::<Result<_, String>>()?,
        members: members.collect::<Result<_, String>>()?,
        min_in_sync: document.min_in_sync,
        flush_mode: match document.flush_mode {
            Mode::Sync => FlushMode::Sync,
            Mode::Async => FlushMode::Async,
        },
        unclean: document.unclean_epoch.map(Epoch),
    })
}

fn store(id: &str) -> Result<StoreId, String> {
    id.parse().map_err(|error: NoStoreId| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A configuration as it is written today.
    const FIXTURE: &str = include_str!("../fixtures/config-1.json");

    fn fixed() -> Config {
        let member = |number: u16| Member {
            name: format!("r{number}"),
            address: format!("127.0.0.1:{}", 8_082 + 2 * number),
        };
        Config {
            version: 17,
            epoch: Epoch(4),
            master: StoreId(0xB),
            in_sync: [(StoreId(0xA), Session(3)), (StoreId(0xB), Session(u64::MAX))].into(),
            members: [(StoreId(0xA), member(0)), (StoreId(0xB), member(1)), (StoreId(u128::MAX), member(2))]
                .into(),
            min_in_sync: 2,
            flush_mode: FlushMode::Async,
            unclean: Some(Epoch(3)),
        }
    }

    #[test]
    fn a_configuration_has_the_bytes_of_its_format() {
        let written = String::from_utf8(encode(&fixed())).unwrap();
        assert!(written == FIXTURE.trim_end(), "other bytes and no other format: now they are\n{written}");
    }

    #[test]
    fn a_configuration_of_a_released_format_means_what_it_meant() {
        assert_eq!(decode(FIXTURE.as_bytes()), Ok(fixed()));
    }

    #[test]
    fn fuzzed_configurations_are_refused_or_read_back() {
        rq_fuzz::fuzz([FIXTURE.as_bytes().to_vec()], |input| {
            let config = decode(input)?;
            assert_eq!(decode(&encode(&config)).as_ref(), Ok(&config));
            Ok::<_, String>((config.in_sync.len(), config.members.len()))
        });
    }
}
