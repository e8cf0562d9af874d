//! The official clients, unchanged, against the real broker: each program of `tests/clients` runs every feature that
//! its client has, and what ran is the feature matrix of the README. Our proto file is held against theirs as well.
//! A language whose toolchain is missing is skipped loudly, and fails with `CI=true`.

#[path = "official_clients/descriptors.rs"]
mod descriptors;
#[path = "official_clients/features.rs"]
mod features;
#[path = "official_clients/matrix.rs"]
mod matrix;
#[path = "official_clients/program.rs"]
mod program;

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use rq_tests::broker::Broker;
use rq_tests::language::{LANGUAGES, root};
use rq_tests::requirement::loudly;

use crate::program::Findings;

/// Client programs that run at a time: a program mostly waits, but its start takes a core.
const AT_A_TIME: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn every_official_client_passes_the_features_that_it_has() -> Result<()> {
    let mut languages = Vec::new();
    for language in &LANGUAGES {
        if let Some(build) = language.build()? {
            languages.push((language, build));
        }
    }
    let data = tempfile::tempdir()?;
    let broker = Broker::start(data.path(), &[]).await?;
    let findings: Vec<Findings> = futures::stream::iter(&languages)
        .map(|(language, build)| program::run(language, build, &broker))
        .buffered(AT_A_TIME)
        .try_collect()
        .await?;
    let failures: Vec<String> = findings.iter().flat_map(Findings::failures).collect();
    for findings in &findings {
        eprintln!("{findings}");
    }
    ensure!(failures.is_empty(), "{} features failed:\n{}", failures.len(), failures.join("\n"));
    broker.finish().await?;
    let matrix = matrix::render(&findings);
    matrix::save(&matrix)?;
    if languages.len() < LANGUAGES.len() {
        loudly("NOT CHECKED: the client matrix of the README, because not every client ran");
        return Ok(());
    }
    matrix::check_readme(&root().join("README.md"), &matrix)
}
