//! Runs a client program against the broker and collects what it reports: one line of JSON a feature.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rq_proto::reliablequeue::CountDeadLettersRequest;
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_tests::broker::Broker;
use serde::Deserialize;

use crate::features::{self, DEAD_LETTER, FEATURES};
use rq_tests::client_program::ClientProgram;
use rq_tests::language::{Build, Language};

/// Until a program has ended, beyond its long handler. Its features end sooner, each by its own deadline.
const DEADLINE: Duration = Duration::from_mins(4);
/// How long the handler takes that must outlive its lease of 45 s: here, and in the soak.
const HANDLER_SECONDS: u64 = 50;
const SOAK_HANDLER_SECONDS: u64 = 180;

/// What came of a feature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub(crate) enum Verdict {
    #[serde(rename = "pass")]
    Pass,
    #[serde(rename = "fail")]
    Fail,
    /// The released client does not have it.
    #[serde(rename = "n/a")]
    Absent,
}

/// A line that a program printed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    feature: String,
    /// What came of it.
    pub(crate) result: Verdict,
    /// What is worth telling, what failed, or why it is absent.
    pub(crate) detail: String,
}

/// All that a program reported.
pub(crate) struct Findings {
    /// Which client.
    pub(crate) language: &'static Language,
    reports: BTreeMap<String, Report>,
    /// How it ended, if it ended otherwise than its reports explain.
    death: Option<String>,
}

impl Findings {
    /// What came of a feature; silence is a failure.
    pub(crate) fn report(&self, feature: &str) -> Report {
        let silence = || Report {
            feature: feature.to_string(),
            result: Verdict::Fail,
            detail: "the program said nothing about it".to_string(),
        };
        self.reports.get(feature).cloned().unwrap_or_else(silence)
    }

    /// A line for each feature that failed.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = |report: &Report| report.result == Verdict::Fail;
        let line = |report: Report| format!("{}, {}: {}", self.language.label, report.feature, report.detail);
        let failures = FEATURES.iter().map(|feature| self.report(feature.name)).filter(failed).map(line);
        let death = self.death.iter().map(|death| format!("{}: {death}", self.language.label));
        failures.chain(death).collect()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for feature in &FEATURES {
            let Report { result, detail, .. } = self.report(feature.name);
            writeln!(f, "{:8} {:40} {result:?}: {detail}", self.language.label, feature.name)?;
        }
        Ok(())
    }
}

/// Runs all features of a client.
pub(crate) async fn run(language: &'static Language, build: &Build, broker: &Broker) -> Result<Findings> {
    let mut admin = AdminClient::connect(broker.endpoint()).await.context("connect for administration")?;
    let run = format!("{}-{:08x}", language.folder, rand::random::<u32>());
    features::prepare(&mut admin, &run).await?;
    let (reports, death) = reports(build, &broker.address(), &run).await?;
    let mut findings = Findings { language, reports, death };
    if let Some(report) = findings.reports.get_mut(DEAD_LETTER)
        && report.result == Verdict::Pass
    {
        let group = format!("{run}-{DEAD_LETTER}");
        let count = admin.count_dead_letters(CountDeadLettersRequest { group }).await?.into_inner().count;
        if count != 1 {
            report.result = Verdict::Fail;
            report.detail = format!("the broker counts {count} dead letters instead of 1");
        }
    }
    Ok(findings)
}

/// Runs the program to its end or deadline, and keeps what it said until then.
async fn reports(
    build: &Build,
    address: &str,
    run: &str,
) -> Result<(BTreeMap<String, Report>, Option<String>)> {
    let soak = std::env::var("RQ_SOAK").is_ok_and(|soak| soak == "1");
    let handler = if soak { SOAK_HANDLER_SECONDS } else { HANDLER_SECONDS };
    let environment = [("RQ_LONG_HANDLER_SECONDS", handler.to_string())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut running = ClientProgram::start(build, address, &["--run-id", run], &environment)?;
    running.close_input();
    let mut reports = BTreeMap::new();
    let listen = async {
        while let Some(line) = running.next_line().await? {
            if let Ok(report) = serde_json::from_str::<Report>(&line) {
                reports.insert(report.feature.clone(), report);
            }
        }
        running.ended().await
    };
    let end = tokio::time::timeout(DEADLINE + Duration::from_secs(handler), listen).await;
    let said_so = reports.values().any(|report| report.result == Verdict::Fail);
    if said_so || matches!(&end, Ok(Ok(status)) if status.success()) {
        return Ok((reports, None));
    }
    let death = format!("the program came to {end:?} though no feature failed:\n{}", running.last_errors());
    Ok((reports, Some(death)))
}
