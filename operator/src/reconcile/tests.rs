//! Looks at a queue, against an API server in memory.

use rq_core::config::Config;
use rq_core::ids::{Session, StoreId};
use rq_operator_core::observed::{Existing, Observed};
use rq_operator_core::plan::Action;
use rq_operator_core::shard::{QueueShard, QueueShardSpec};

use super::*;
use crate::api_server::ApiServer;
use crate::certificates::tests::queue;

const A: StoreId = StoreId(0xA);

fn context(server: &ApiServer) -> Context {
    Context {
        client: server.client(),
        without_retries: server.client(),
        release: Release { broker_image: "broker:dev".to_owned() },
        clock: Clock::start(),
        board: Arc::new(Board::new()),
        metrics: Arc::new(Metrics::new()),
        teller: Teller::new(server.client(), "operator-0".to_owned()),
        losses: Losses::default(),
    }
}

fn seen(server: &ApiServer) -> Observed {
    Observed {
        queue: queue(),
        existing: Existing::default(),
        shard: server.get("shop", "orders"),
        pods: Vec::new(),
        volumes: Vec::new(),
        nodes: std::collections::BTreeMap::new(),
        certificate: None,
        replicas: Vec::new(),
        trouble: None,
        failover: None,
        now_ms: 0,
        now: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::now()),
    }
}

fn shard(spec: QueueShardSpec) -> QueueShard {
    let mut shard = QueueShard::new("orders", spec);
    shard.metadata.namespace = Some("shop".to_owned());
    shard
}

fn config() -> Config {
    let member = rq_core::config::Member { name: "orders-0".to_owned(), address: "10.0.0.1:8083".to_owned() };
    Config::form(A, Session(1), [(A, member)].into(), 1)
}

fn but_events(writes: Vec<String>) -> Vec<String> {
    writes.into_iter().filter(|write| !write.contains("/events")).collect()
}

#[tokio::test]
async fn a_queue_gets_what_it_needs_and_then_nothing_is_written_any_more() {
    let server = ApiServer::default();
    server.put(&queue());
    let context = context(&server);
    for _ in 0..8 {
        look(&queue(), &context).await.unwrap();
    }
    let wrote = but_events(server.writes());
    for what in
        ["secrets/orders-authority", "secrets/orders-certificate", "statefulsets/orders", "queueshards"]
    {
        assert!(wrote.iter().any(|write| write.contains(what)), "{what} is missing in {wrote:#?}");
    }
    let applied = wrote.iter().filter(|write| write.starts_with("PATCH"));
    for write in applied {
        assert!(
            write.contains("force=true") && write.contains("fieldManager=reliablequeue-operator"),
            "{write}"
        );
    }
    look(&queue(), &context).await.unwrap();
    assert_eq!(but_events(server.writes()), Vec::<String>::new(), "at rest");
}

#[tokio::test]
async fn a_plan_stops_at_the_first_action_that_fails() {
    let server = ApiServer::default();
    let actions = [Action::OrphanStatefulSet, Action::CreateShard { owned: false }];
    let done = execute::execute(&context(&server), &seen(&server), &actions).await;
    assert!(matches!(done, Err(Error::Missing("StatefulSet"))), "{done:?}");
    assert_eq!(server.get::<QueueShard>("shop", "orders"), None);
}

#[tokio::test]
async fn a_volume_that_may_not_grow_holds_nothing_else_up() {
    let server = ApiServer::default();
    server.refuse("persistentvolumeclaims/data-orders-0");
    let grow = Action::ResizeVolume { name: "data-orders-0".to_owned(), size: "2Gi".to_owned() };
    let actions = [grow, Action::CreateShard { owned: false }];
    let refusals = execute::execute(&context(&server), &seen(&server), &actions).await.unwrap();
    assert_eq!(refusals, ["Forbidden"]);
    assert!(server.get::<QueueShard>("shop", "orders").is_some());
}

#[tokio::test]
async fn what_the_api_server_refuses_is_told_in_the_status() {
    let server = ApiServer::default();
    server.put(&queue());
    server.refuse("statefulsets/orders");
    let looked = {
        let context = context(&server);
        let mut looked = look(&queue(), &context).await;
        // What comes before the pods is made first.
        for _ in 0..8 {
            if looked.is_err() {
                break;
            }
            looked = look(&queue(), &context).await;
        }
        looked
    };
    assert!(matches!(looked, Err(Error::Refused(_))), "{looked:?}");
    let status = server.get::<ReliableQueue>("shop", "orders").unwrap().status.unwrap();
    let up_to_date = status.conditions.iter().find(|condition| condition.type_ == "UpToDate").unwrap();
    assert_eq!((up_to_date.reason.as_str(), up_to_date.status.as_str()), ("Refused", "False"));
    assert!(up_to_date.message.contains("Forbidden"), "{}", up_to_date.message);
}

#[tokio::test]
async fn only_the_pod_that_was_seen_is_deleted() {
    let server = ApiServer::default();
    let mut pod = k8s_openapi::api::core::v1::Pod::default();
    pod.metadata.name = Some("orders-1".to_owned());
    pod.metadata.namespace = Some("shop".to_owned());
    pod.metadata.uid = Some("newer".to_owned());
    server.put(&pod);
    let (context, observed) = (context(&server), seen(&server));
    let delete = |uid: &str| [Action::DeletePod { name: "orders-1".to_owned(), uid: uid.to_owned() }];
    let done = execute::execute(&context, &observed, &delete("older")).await;
    assert!(matches!(done, Err(Error::Changed(_))), "{done:?}");
    execute::execute(&context, &observed, &delete("newer")).await.unwrap();
    execute::execute(&context, &observed, &delete("newer")).await.unwrap();
}

#[tokio::test]
async fn a_configuration_is_rebuilt_only_over_the_one_that_was_seen() {
    let server = ApiServer::default();
    server.put(&shard(QueueShardSpec::unformed()));
    let (context, observed) = (context(&server), seen(&server));
    server.put(&shard(QueueShardSpec { min_in_sync: 2, ..QueueShardSpec::unformed() }));
    let rebuild = [Action::Rebuild { config: config(), owned: true }];
    let done = execute::execute(&context, &observed, &rebuild).await;
    assert!(matches!(done, Err(Error::Changed(_))), "{done:?}");
    assert_eq!(server.get::<QueueShard>("shop", "orders").unwrap().spec.min_in_sync, 2);

    execute::execute(&context, &seen(&server), &rebuild).await.unwrap();
    let rebuilt: QueueShard = server.get("shop", "orders").unwrap();
    assert_eq!(rebuilt.spec.config().unwrap(), Some(config()));
    assert_eq!(rebuilt.metadata.owner_references.map(|owners| owners.len()), Some(1));
}

#[tokio::test]
async fn a_change_of_a_configuration_that_has_changed_meanwhile_is_not_made() {
    let server = ApiServer::default();
    server.put(&shard(QueueShardSpec::from(&config())));
    let (context, observed) = (context(&server), seen(&server));
    let write = [Action::Write(rq_core::config::Change::SetMinInSync(2))];
    execute::execute(&context, &observed, &write).await.unwrap();
    let done = execute::execute(&context, &observed, &write).await;
    assert!(matches!(done, Err(Error::Changed(_))), "{done:?}");
    assert_eq!(server.get::<QueueShard>("shop", "orders").unwrap().spec.version, 2);
}

fn kept(server: &ApiServer, now_ms: u64) -> Observed {
    let status = rq_proto::reliablequeue::ReplicaStatus {
        store_id: A.to_string(),
        ..rq_proto::reliablequeue::ReplicaStatus::default()
    };
    let told = rq_overseer::Told { config: Some(config()), ..rq_overseer::Told::read(&status, 0).unwrap() };
    let seen_of_it = rq_overseer::Seen::new("orders-0".to_owned(), String::new());
    let replica = rq_overseer::Seen { running: true, told: Some(told), ..seen_of_it };
    Observed { replicas: vec![replica], now_ms, ..seen(server) }
}

/// Whether it is put back at this time, by the answer to a question that was put then.
fn puts_back(losses: &Losses, rebuilt: Config, now_ms: u64, asked: u64) -> bool {
    let note = |reason: &str| rq_operator_core::plan::Note {
        warning: true,
        reason: reason.to_owned(),
        action: "Rebuild".to_owned(),
        note: String::new(),
    };
    let actions = vec![Action::IssueCertificate, Action::Rebuild { config: rebuilt, owned: true }];
    let mut plan = rq_operator_core::plan::Plan {
        actions,
        events: vec![note("ConfigRebuilt"), note("Other")],
        ..rq_operator_core::plan::Plan::default()
    };
    let (server, heard) = (ApiServer::default(), [("orders-0".to_owned(), asked)].into());
    losses.hold_back(&QueueKey::from(&queue()), &kept(&server, now_ms), &heard, &mut plan);
    assert_eq!(plan.actions.len(), plan.events.len(), "what is not done is not told, and all else is");
    plan.actions.len() == 2
}

#[test]
fn a_lost_configuration_is_put_back_by_answers_from_after_its_loss_alone() {
    let losses = Losses::default();
    assert!(!puts_back(&losses, config(), 1_000, 900), "seen for the first time");
    assert!(!puts_back(&losses, config(), 2_000, 1_900), "too soon");
    assert!(!puts_back(&losses, config(), 4_000, 1_000), "the broker may have kept a newer one since");
    assert!(puts_back(&losses, config(), 4_000, 3_900));
    let newer = Config { version: 2, ..config() };
    assert!(!puts_back(&losses, newer.clone(), 9_000, 8_900), "another one was found");
    assert!(puts_back(&losses, newer.clone(), 11_000, 10_900));
    losses.forget_all();
    assert!(!puts_back(&losses, newer, 12_000, 11_900), "another replica of the operator led meanwhile");
}

#[test]
fn a_loss_that_is_over_is_forgotten() {
    let (losses, server) = (Losses::default(), ApiServer::default());
    assert!(!puts_back(&losses, config(), 1_000, 900));
    let mut nothing = rq_operator_core::plan::Plan::default();
    losses.hold_back(
        &QueueKey::from(&queue()),
        &seen(&server),
        &std::collections::BTreeMap::new(),
        &mut nothing,
    );
    assert!(!puts_back(&losses, config(), 9_000, 8_900));
}
