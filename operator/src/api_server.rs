//! An API server in memory, for tests: objects by their paths, with optimistic locking and preconditions. It holds no schema
//! and merges nothing: who applies an object replaces it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Largest body.
const BODY_MAX: usize = 1 << 20;

/// The server.
#[derive(Clone, Default)]
pub(crate) struct ApiServer {
    state: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    objects: BTreeMap<String, Value>,
    /// `METHOD PATH?QUERY` of each call that was to write something.
    writes: Vec<String>,
    version: u64,
    /// Writes of paths that end so are refused.
    refused: Vec<&'static str>,
}

impl ApiServer {
    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let router = Router::new().fallback(answer).with_state(self.clone());
        Client::new(router, "default")
    }

    /// Has an object in it, as if it had always been there.
    pub(crate) fn put<K>(&self, object: &K)
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let mut state = self.state.lock().unwrap();
        let path = path(object.meta().namespace.as_deref(), object.meta().name.as_deref().unwrap(), object);
        state.store(&path, serde_json::to_value(object).unwrap());
    }

    /// The object of this name.
    pub(crate) fn get<K>(&self, namespace: &str, name: &str) -> Option<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let path = format!("{}/{name}", K::url_path(&(), Some(namespace)));
        let there = self.state.lock().unwrap().objects.get(&path).cloned()?;
        Some(serde_json::from_value(there).unwrap())
    }

    /// Takes no write of paths that end so.
    pub(crate) fn refuse(&self, end: &'static str) {
        self.state.lock().unwrap().refused.push(end);
    }

    /// The calls since it was asked last that were to write something.
    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().writes)
    }
}

fn path<K: Resource<DynamicType = ()>>(namespace: Option<&str>, name: &str, _: &K) -> String {
    format!("{}/{name}", K::url_path(&(), namespace))
}

async fn answer(State(server): State<ApiServer>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_MAX).await.unwrap();
    let body: Value = if body.is_empty() { json!({}) } else { serde_json::from_slice(&body).unwrap() };
    let mut state = server.state.lock().unwrap();
    let path = parts.uri.path().to_owned();
    if parts.method != Method::GET {
        let query = parts.uri.query().unwrap_or_default();
        state.writes.push(format!("{} {path}?{query}", parts.method));
    }
    let is_refused = parts.method != Method::GET && state.refused.iter().any(|end| path.ends_with(end));
    let answered = match parts.method {
        _ if is_refused => Err(REFUSED),
        Method::GET => state.read(&path),
        Method::POST => state.create(&path, body),
        Method::PUT => state.replace(&path, body),
        Method::PATCH => Ok(state.patch(&path, body)),
        Method::DELETE => state.delete(&path, &body),
        other => panic!("{other} is no call of ours"),
    };
    match answered {
        Ok(object) => told(StatusCode::OK, &object),
        Err((code, reason)) => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason,
                "reason": reason, "code": code.as_u16()});
            told(code, &status)
        }
    }
}

fn told(code: StatusCode, body: &Value) -> Response {
    (code, [("content-type", "application/json")], body.to_string()).into_response()
}

type Answer = Result<Value, (StatusCode, &'static str)>;
const CONFLICT: (StatusCode, &str) = (StatusCode::CONFLICT, "Conflict");
const REFUSED: (StatusCode, &str) = (StatusCode::FORBIDDEN, "Forbidden");
const NOT_FOUND: (StatusCode, &str) = (StatusCode::NOT_FOUND, "NotFound");

impl World {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        }
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn read(&self, path: &str) -> Answer {
        // A collection ends with a plural, an object with its name.
        let of_collection =
            |key: &&String| key.rsplit_once('/').is_some_and(|(collection, _)| collection == path);
        if let Some(object) = self.objects.get(path) {
            return Ok(object.clone());
        }
        let items: Vec<&Value> =
            self.objects.keys().filter(of_collection).map(|key| &self.objects[key]).collect();
        let is_collection = ["/pods", "/persistentvolumeclaims"].iter().any(|plural| path.ends_with(plural));
        if items.is_empty() && !is_collection {
            Err(NOT_FOUND)
        } else {
            Ok(json!({"metadata": {}, "items": items}))
        }
    }

    fn create(&mut self, collection: &str, object: Value) -> Answer {
        let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap());
        if self.objects.contains_key(&path) {
            return Err((StatusCode::CONFLICT, "AlreadyExists"));
        }
        Ok(self.store(&path, object))
    }

    fn replace(&mut self, path: &str, object: Value) -> Answer {
        let there = self.objects.get(path).ok_or(NOT_FOUND)?;
        if there["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return Err(CONFLICT);
        }
        Ok(self.store(path, object))
    }

    fn patch(&mut self, path: &str, object: Value) -> Value {
        if let Some(of) = path.strip_suffix("/status") {
            let mut there = self.objects[of].clone();
            there["status"] = object["status"].clone();
            return self.store(of, there);
        }
        let mut object = object;
        if let Some(there) = self.objects.get(path) {
            object["metadata"]["uid"] = there["metadata"]["uid"].clone();
        }
        self.store(path, object)
    }

    fn delete(&mut self, path: &str, options: &Value) -> Answer {
        let there = self.objects.get(path).ok_or(NOT_FOUND)?;
        let wanted = &options["preconditions"];
        let differs = |name: &str| !wanted[name].is_null() && wanted[name] != there["metadata"][name];
        if differs("uid") || differs("resourceVersion") {
            return Err(CONFLICT);
        }
        self.objects.remove(path).ok_or(NOT_FOUND)
    }
}
