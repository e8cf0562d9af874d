//! What each official client must find in its settings.

use rq_proto::rocketmq::{Code, Publishing, Resource, Subscription, Ua};

use super::*;

const LIMITS: SettingsLimits =
    SettingsLimits { body_bytes: 4_194_304, batch: 32, long_poll: Duration::from_secs(20) };

fn producer() -> Settings {
    let topics = vec![Resource { resource_namespace: "ns".into(), name: "t".into() }];
    Settings {
        client_type: Some(ClientType::Producer.into()),
        request_timeout: Some(time::duration(3_000)),
        user_agent: Some(Ua { hostname: "h".into(), ..Default::default() }),
        pub_sub: Some(PubSub::Publishing(Publishing { topics, ..Default::default() })),
        ..Default::default()
    }
}

fn consumer() -> Settings {
    let group = Some(Resource { resource_namespace: "ns".into(), name: "g".into() });
    Settings {
        client_type: Some(ClientType::PushConsumer.into()),
        pub_sub: Some(PubSub::Subscription(Subscription { group, ..Default::default() })),
        ..Default::default()
    }
}

fn policy(group: &GroupSettings, language: Language) -> (i32, Strategy) {
    let policy = for_consumer(consumer(), group, language, &LIMITS).backoff_policy.unwrap();
    (policy.max_attempts, policy.strategy.unwrap())
}

fn seconds(strategy: &Strategy) -> Vec<u64> {
    let Strategy::CustomizedBackoff(backoff) = strategy else { panic!("not customized: {strategy:?}") };
    assert!(backoff.next.iter().all(|delay| delay.nanos == 0), "whole seconds");
    backoff.next.iter().map(|delay| delay.seconds.cast_unsigned()).collect()
}

#[test]
fn a_producer_gets_an_exponential_backoff_and_a_body_size_and_keeps_the_rest() {
    let settings = for_producer(producer(), &LIMITS);
    let policy = settings.backoff_policy.clone().unwrap();
    assert_eq!(policy.max_attempts, 3);
    assert_eq!(policy.strategy, Some(exponential(10, 1_000, 2.0)));
    let Some(PubSub::Publishing(publishing)) = settings.pub_sub else { panic!("no publishing") };
    assert_eq!((publishing.max_body_size, publishing.validate_message_type), (4_194_304, true));
    assert_eq!(publishing.topics[0].resource_namespace, "ns");
    assert_eq!(settings.user_agent, producer().user_agent);
    assert_eq!(settings.request_timeout, producer().request_timeout);
    assert_eq!(settings.metric, Some(Metric { on: false, endpoints: None }));
}

#[test]
fn a_consumer_gets_its_groups_order_and_policy() {
    let group = GroupSettings { ordered: true, max_attempts: 5, ..Default::default() };
    let settings = for_consumer(consumer(), &group, Language::Other, &LIMITS);
    let Some(PubSub::Subscription(subscription)) = settings.pub_sub else { panic!("no subscription") };
    assert_eq!(subscription.fifo, Some(true));
    assert_eq!(subscription.receive_batch_size, Some(32));
    assert_eq!(subscription.long_polling_timeout, Some(time::duration(20_000)));
    assert_eq!(subscription.group.unwrap().resource_namespace, "ns", "C++ adopts it");
    assert_eq!(policy(&group, Language::Other), (5, exponential(5_000, 7_200_000, 2.0)));
}

#[test]
fn python_gets_a_list_of_whole_seconds() {
    let (attempts, strategy) = policy(&GroupSettings::default(), Language::Python);
    assert_eq!(attempts, 17);
    assert_eq!(seconds(&strategy), [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 7_200]);
    let group = GroupSettings { backoff: Backoff::Customized(vec![1, 1_001, 3_000]), ..Default::default() };
    assert_eq!(seconds(&policy(&group, Language::Python).1), [1, 2, 3], "rounded up, never 0");
    let once = GroupSettings { max_attempts: 1, ..Default::default() };
    assert_eq!(seconds(&policy(&once, Language::Python).1), [5], "never an empty list");
}

#[test]
fn node_gets_an_exponential_backoff_even_for_a_list() {
    let group =
        |delays: Vec<u64>| GroupSettings { backoff: Backoff::Customized(delays), ..Default::default() };
    assert_eq!(policy(&group(vec![3_000]), Language::Node).1, exponential(3_000, 3_000, 1.0));
    assert_eq!(policy(&group(vec![1_000, 9_000]), Language::Node).1, exponential(1_000, 9_000, 2.0));
    assert_eq!(policy(&GroupSettings::default(), Language::Node).1, exponential(5_000, 7_200_000, 2.0));
    assert_eq!(Language::of("HTTP"), Language::Node);
}

#[test]
fn other_clients_get_the_groups_own_list() {
    let group = GroupSettings { backoff: Backoff::Customized(vec![500, 1_000]), ..Default::default() };
    let expected = CustomizedBackoff { next: vec![time::duration(500), time::duration(1_000)] };
    assert_eq!(policy(&group, Language::Other).1, Strategy::CustomizedBackoff(expected));
}

#[test]
fn illegal_settings_have_their_codes() {
    let code = |settings: &Settings| check(settings).map_err(|invalid| invalid.code());
    let typed = |client_type| Settings { client_type, ..Default::default() };
    assert_eq!(code(&typed(None)), Ok(()));
    assert_eq!(code(&typed(Some(0))), Err(Code::UnrecognizedClientType));
    assert_eq!(code(&typed(Some(99))), Err(Code::UnrecognizedClientType));
    assert_eq!(code(&typed(Some(ClientType::LitePushConsumer.into()))), Err(Code::NotImplemented));

    let with = |properties: Vec<(String, String)>| Settings {
        client_properties: properties.into_iter().collect(),
        ..Default::default()
    };
    let one = |key: &str, value: &str| with(vec![(key.into(), value.into())]);
    assert_eq!(code(&one("a.b-c_9", "v")), Ok(()));
    let illegal = [
        one("", "v"),
        one("9a", "v"),
        one("a b", "v"),
        one("rocketmq.x", "v"),
        one(&"k".repeat(65), "v"),
        one("k", &"v".repeat(257)),
        with((0..33).map(|n| (format!("k{n}"), String::new())).collect()),
        with((0..20).map(|n| (format!("k{n}"), "v".repeat(250))).collect()),
    ];
    for settings in illegal {
        assert_eq!(code(&settings), Err(Code::InvalidClientProperties), "{:?}", settings.client_properties);
    }
}

#[test]
fn fuzzed_settings_are_refused_or_answered() {
    use prost::Message as _;
    rq_fuzz::fuzz([producer(), consumer()].map(|settings| settings.encode_to_vec()), |input| {
        let settings = Settings::decode(input).map_err(|error| error.to_string())?;
        check(&settings).map_err(|invalid| format!("{:?}", invalid.code()))?;
        let answered = match &settings.pub_sub {
            Some(PubSub::Publishing(_)) => for_producer(settings, &LIMITS),
            _ => for_consumer(settings, &GroupSettings::default(), Language::Other, &LIMITS),
        };
        assert!(answered.backoff_policy.is_some());
        Ok::<_, String>(answered.client_type)
    });
}
