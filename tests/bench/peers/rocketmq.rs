//! Apache RocketMQ 5: name server, master, slave and gRPC proxy. An acknowledged message is flushed on the master and
//! written, though not yet flushed, on the slave.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::servers::Servers;
use crate::load::Target;

/// Name of the cluster; RocketMQ keeps a topic of that name for itself.
const CLUSTER: &str = "peers";
/// As the start scripts of RocketMQ set them, but for the sizes.
const JAVA: [&str; 10] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:G1HeapRegionSize=16m",
    "-XX:G1ReservePercent=25",
    "-XX:InitiatingHeapOccupancyPercent=30",
    "-XX:SoftRefLRUPolicyMSPerMB=0",
    "-XX:+AlwaysPreTouch",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
];
/// Heaps, in MiB.
const NAMESRV_HEAP: u32 = 256;
const BROKER_HEAP: u32 = 2048;
const PROXY_HEAP: u32 = 1024;
/// Queues of the topic: as many as ours has.
const QUEUES: &str = "8";
/// Ports, within those that are theirs. A broker also takes the second below its own.
const NAMESRV_PORT: u16 = 1;
const MASTER_PORTS: Ports = Ports { clients: 4, slaves: 5 };
const SLAVE_PORTS: Ports = Ports { clients: 9, slaves: 10 };
const GRPC_PORT: u16 = 12;
const REMOTING_PORT: u16 = 13;
/// Until the brokers are known to the name server.
const TOPIC_DEADLINE: Duration = Duration::from_mins(2);

struct Ports {
    clients: u16,
    slaves: u16,
}

/// Starts all four with a topic; where the proxy is loaded, and the processes of all.
pub(super) async fn start(disk: &Path, installed: &Path, topic: &str) -> Result<(Servers, Target)> {
    let mut servers = Servers::none(disk, "rocketmq")?;
    let jars = installed.join("rocketmq/lib");
    if !jars.exists() {
        bail!("{} is missing: run `make bench-peers`, which installs it", jars.display());
    }
    let namesrv = format!("127.0.0.1:{}", servers.port(NAMESRV_PORT));
    let settings = format!("listenPort={}\nbindAddress=127.0.0.1\n", servers.port(NAMESRV_PORT));
    let file = servers.configure("namesrv.properties", &settings)?;
    let mut command = java(&jars, servers.home(), NAMESRV_HEAP, "namesrv.NamesrvStartup");
    command.arg("-c").arg(file);
    servers.start("namesrv", command)?;
    servers.listening(servers.port(NAMESRV_PORT)).await?;

    for (name, role, id, ports) in
        [("master", "SYNC_MASTER", 0, MASTER_PORTS), ("slave", "SLAVE", 1, SLAVE_PORTS)]
    {
        let settings = broker(&servers, name, role, id, &ports);
        let file = servers.configure(&format!("{name}.properties"), &settings)?;
        let mut command = java(&jars, servers.home(), BROKER_HEAP, "broker.BrokerStartup");
        command.arg("-c").arg(file);
        servers.start(name, command)?;
    }
    servers.listening(servers.port(MASTER_PORTS.clients)).await?;
    servers.listening(servers.port(SLAVE_PORTS.clients)).await?;
    // Before the proxy, which would remember that there is none.
    make_topic(&mut servers, &jars, &namesrv, topic).await?;

    let settings = serde_json::json!({
        "rocketMQClusterName": CLUSTER,
        "proxyMode": "CLUSTER",
        "namesrvAddr": namesrv,
        "localServeAddr": "127.0.0.1",
        "grpcServerPort": servers.port(GRPC_PORT),
        "remotingListenPort": servers.port(REMOTING_PORT),
    });
    let file = servers.configure("proxy.json", &settings.to_string())?;
    let mut command = java(&jars, servers.home(), PROXY_HEAP, "proxy.ProxyStartup");
    command.arg("-pc").arg(file);
    servers.start("proxy", command)?;
    servers.listening(servers.port(GRPC_PORT)).await?;
    let target = Target { address: format!("127.0.0.1:{}", servers.port(GRPC_PORT)), pids: servers.pids() };
    Ok((servers, target))
}

/// A Java program of RocketMQ with all that it writes below `home`.
fn java(jars: &Path, home: &Path, heap_mib: u32, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(JAVA).args([format!("-Xms{heap_mib}m"), format!("-Xmx{heap_mib}m")]);
    command.arg(format!("-Duser.home={}", home.display()));
    command.arg(format!("-Drocketmq.home.dir={}", home.display()));
    // It reads some of it from there, and writes beside where it is started.
    command.env("ROCKETMQ_HOME", home).current_dir(home);
    command.arg("-cp").arg(jars.join("*")).arg(format!("org.apache.rocketmq.{class}"));
    command
}

/// The settings of a broker: what is not said is as RocketMQ has it.
fn broker(servers: &Servers, name: &str, role: &str, id: u32, ports: &Ports) -> String {
    let store: PathBuf = servers.home().join(name);
    format!(
        "brokerClusterName={CLUSTER}\nbrokerName=broker\nbrokerId={id}\nbrokerRole={role}\n\
         flushDiskType=SYNC_FLUSH\ntotalReplicas=2\ninSyncReplicas=2\nminInSyncReplicas=2\n\
         namesrvAddr=127.0.0.1:{}\nbindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\n\
         listenPort={}\nhaListenPort={}\nstorePathRootDir={}\n",
        servers.port(NAMESRV_PORT),
        servers.port(ports.clients),
        servers.port(ports.slaves),
        store.display(),
    )
}

/// By the admin tool, again until the name server knows the brokers.
async fn make_topic(servers: &mut Servers, jars: &Path, namesrv: &str, topic: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let command = java(jars, servers.home(), NAMESRV_HEAP, "tools.command.MQAdminStartup");
        let mut command = tokio::process::Command::from(command);
        command.args(["updateTopic", "-n", namesrv, "-c", CLUSTER, "-t", topic, "-r", QUEUES, "-w", QUEUES]);
        let output = command.kill_on_drop(true).output().await.context("run the admin tool of RocketMQ")?;
        // It ends with 0 even where it failed.
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("success") {
            return Ok(());
        }
        servers.all_run()?;
        if began.elapsed() > TOPIC_DEADLINE {
            bail!("no topic within {TOPIC_DEADLINE:?}; the admin tool said: {said}");
        }
    }
}
