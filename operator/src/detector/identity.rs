//! Keeps the certificate of a queue at hand. The operator may ask for a Secret by its name and watch none.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use rq_operator_core::queue::ReliableQueue;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::key::QueueKey;
use crate::peers::Identity;

/// How often it is asked for while there is none.
const MISSING: Duration = Duration::from_secs(1);
/// How often it is asked whether there is another one. The one before holds for weeks more.
const THERE: Duration = Duration::from_secs(30);

/// The certificate of a queue, as long as the handle lives.
pub(super) fn keep(
    client: Client,
    queue: Arc<ReliableQueue>,
) -> (watch::Receiver<Option<Identity>>, AbortOnDropHandle<()>) {
    let (tell, identity) = watch::channel(None);
    let task = async move {
        loop {
            match Identity::fetch(client.clone(), &queue).await {
                // What is known goes on to be used where the Secret is gone for a moment.
                Ok(Some(found)) => {
                    tell.send_if_modified(|known| {
                        let changed = known.as_ref() != Some(&found);
                        *known = Some(found);
                        changed
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(queue = %QueueKey::from(&*queue), %error, "the certificate cannot be read");
                }
            }
            let pause = if tell.borrow().is_some() { THERE } else { MISSING };
            tokio::time::sleep(pause).await;
        }
    };
    (identity, AbortOnDropHandle::new(tokio::spawn(task)))
}
