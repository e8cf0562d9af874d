//! Checks a broker with the official Rust client: one JSON line a feature, exit code 1 when one fails. It must never
//! create topics or groups: whoever runs it prepares them (see ../README.md).

mod delayed;
mod features;
mod in_steps;
mod scene;
mod transactions;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use scene::{Outcome, Scene};

/// How long one feature may take before it counts as failed.
const FEATURE_DEADLINE: Duration = Duration::from_secs(150);

type Feature = fn(Scene) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

const FEATURES: [(&str, Feature); 17] = [
    ("send-receive-ack", |s| Box::pin(features::send_receive_ack(s))),
    ("no-redelivery-after-ack", |s| Box::pin(features::no_redelivery_after_ack(s))),
    ("redelivery-without-ack", |s| Box::pin(features::redelivery_without_ack(s))),
    ("change-invisible", |_| absent("no call to change an invisible duration")),
    ("consumer-killed-while-processing", |s| Box::pin(features::consumer_killed(s))),
    ("push-consumer", |_| absent("no push consumer")),
    ("failing-push-consumer-until-dead-letter", |_| absent("no push consumer")),
    ("fifo-order-through-failures", |s| Box::pin(features::fifo_order(s))),
    ("tag-filter", |s| Box::pin(features::tag_filter(s))),
    ("sql-filter", |s| Box::pin(features::sql_filter(s))),
    ("delayed", |s| Box::pin(delayed::delayed(s))),
    ("recall", |_| absent("no recall")),
    ("bodies", |s| Box::pin(features::bodies(s))),
    ("errors", |s| Box::pin(features::illegal_input(s))),
    ("transactions", |s| Box::pin(transactions::transactions(s))),
    ("transaction-producer-killed", |s| Box::pin(transactions::producer_killed(s))),
    ("long-handler-auto-renew", |_| absent("no push consumer")),
];

/// What a feature that this client does not have reports.
fn absent(reason: &'static str) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
    Box::pin(async move { Ok(Err(reason)) })
}

struct Arguments {
    endpoint: String,
    run_id: String,
    hold: bool,
    half: bool,
    in_steps: bool,
    names: Vec<String>,
}

fn arguments() -> Arguments {
    let mut parsed = Arguments {
        endpoint: "127.0.0.1:8081".into(),
        run_id: String::new(),
        hold: false,
        half: false,
        in_steps: false,
        names: Vec::new(),
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--endpoint" => parsed.endpoint = given.next().unwrap_or_default(),
            "--run-id" => parsed.run_id = given.next().unwrap_or_default(),
            "--hold" => parsed.hold = true,
            "--half" => parsed.half = true,
            "--in-steps" => parsed.in_steps = true,
            _ => parsed.names.push(argument),
        }
    }
    parsed
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { endpoint, run_id, hold, half, in_steps, names } = arguments();
    if let (true, [topic, group]) = (hold, names.as_slice()) {
        features::hold_message(&endpoint, topic, group).await;
        return ExitCode::FAILURE;
    }
    if let (true, [topic]) = (half, names.as_slice()) {
        transactions::leave_half(&endpoint, topic).await;
        return ExitCode::FAILURE;
    }
    if let (true, [topic]) = (in_steps, names.as_slice()) {
        let Err(error) = in_steps::in_steps(&endpoint, topic).await else { return ExitCode::SUCCESS };
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let mut running = tokio::task::JoinSet::new();
    for (name, feature) in FEATURES {
        if names.is_empty() || names.iter().any(|n| n == name) {
            let scene = Scene { endpoint: endpoint.clone(), name: format!("{run_id}-{name}") };
            running.spawn(async move {
                let work = tokio::spawn(feature(scene));
                let outcome = match tokio::time::timeout(FEATURE_DEADLINE, work).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(panic)) => Err(panic.to_string()),
                    Err(_) => Err(format!("not done after {FEATURE_DEADLINE:?}")),
                };
                (name, outcome)
            });
        }
    }
    let mut passed = true;
    while let Some(joined) = running.join_next().await {
        let Ok((feature, outcome)) = joined else { return ExitCode::FAILURE };
        let (result, detail) = match outcome {
            Ok(Ok(detail)) => ("pass", detail),
            Ok(Err(reason)) => ("n/a", reason.to_string()),
            Err(error) => ("fail", error),
        };
        passed &= result != "fail";
        println!("{}", serde_json::json!({"feature": feature, "result": result, "detail": detail}));
    }
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
