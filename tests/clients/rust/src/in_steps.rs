//! A producer of half messages that does what standard input says, a line at a time, and says what it did: whoever runs it
//! can strike between any two steps of a transaction.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rocketmq::model::message::MessageView;
use rocketmq::model::transaction::{Transaction, TransactionResolution};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::scene::{start_transactional, text};
use crate::transactions::send_half;

/// The bodies whose checks may be answered.
#[derive(Default)]
struct Answers {
    allowed: Mutex<HashSet<String>>,
    changed: Condvar,
}

impl Answers {
    fn allow(&self, body: &str) {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).insert(body.to_string());
        self.changed.notify_all();
    }

    fn wait(&self, body: &str) {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        while !allowed.contains(body) {
            allowed = self.changed.wait(allowed).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn check(&self, message: &MessageView) -> TransactionResolution {
        let body = String::from_utf8_lossy(message.body()).into_owned();
        println!("asked {body}");
        // The client asks on a thread of the runtime.
        tokio::task::block_in_place(|| self.wait(&body));
        if is_rolled_back(&body) {
            TransactionResolution::ROLLBACK
        } else {
            TransactionResolution::COMMIT
        }
    }
}

fn is_rolled_back(body: &str) -> bool {
    body.starts_with("roll back")
}

/// Does what standard input says, until it ends; ../README.md lists the commands.
pub async fn in_steps(endpoint: &str, topic: &str) -> Result<(), String> {
    let answers = Arc::new(Answers::default());
    let asked = Arc::clone(&answers);
    let producer = start_transactional(endpoint, topic, move |_, message| asked.check(&message)).await?;
    println!("ready {topic}");
    let mut open = HashMap::new();
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = commands.next_line().await.map_err(text)? {
        let (command, body) = line.split_once(' ').ok_or("a command without a body")?;
        match command {
            "send" => {
                open.insert(body.to_string(), send_half(&producer, topic, body).await?);
                println!("stored {body}");
            }
            "end" => {
                let transaction = open.remove(body).ok_or("no such transaction")?;
                tokio::spawn(end(transaction, body.to_string(), Arc::clone(&answers)));
            }
            "answer" => answers.allow(body),
            _ => return Err(format!("no command {command:?}")),
        }
    }
    Ok(())
}

/// This client ends a transaction once. When that failed, the check decides.
async fn end(transaction: impl Transaction, body: String, answers: Arc<Answers>) {
    let ended = if is_rolled_back(&body) { transaction.rollback().await } else { transaction.commit().await };
    match ended {
        Ok(()) => println!("ended {body}"),
        Err(error) => {
            answers.allow(&body);
            eprintln!("{error}");
            println!("undecided {body}");
        }
    }
}
