//! The host's own services, health and reflection.
//!
//! What holds for calls of plugins' methods holds for theirs: the same limits, framing, compression, deadlines and
//! statuses. tonic's generated servers have others. They take no turns: who is asked whether it is well should answer
//! under load as well.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{Stream, try_unfold};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::body::Body;
use tonic_reflection::pb::{v1, v1alpha};

use super::activity::InUse;
use super::compression::{Encoded, Encoding};
use super::connection::ServerOptions;
use super::ending::{Ending, Until, ending};
use super::framing::{self, Requests, Response};
use super::health::Health;
use super::health::pb::HealthListRequest;
use super::peer::Client;
use super::reflection::{Asked, Reflection};
use super::service::{Answer, Caller};
use crate::deadline::Deadline;
use crate::dispatch::{Dispatcher, unknown_method};
use crate::metadata::{check_entries, check_size};
use crate::policy::{HEALTH, HostPolicies, REFLECTION};
use crate::status::Failure;

const REFLECTION_V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// All of them, shared by all connections.
pub(super) struct OwnServices {
    dispatcher: Arc<Dispatcher>,
    policies: HostPolicies,
    health: Health,
    /// None if the operator turned it off.
    reflection: Option<Reflection>,
    draining: watch::Receiver<bool>,
}

enum Method<'a> {
    Check,
    List,
    Watch,
    Reflect(&'a Reflection),
    ReflectV1Alpha(&'a Reflection),
}

/// A call of theirs that is let in.
struct Call {
    own: Arc<OwnServices>,
    path: String,
    headers: HeaderMap,
    /// Taken when it is read.
    body: Body,
    client: Option<Arc<Client>>,
    deadline: Deadline,
    ending: Ending,
    in_use: InUse,
    /// The smallest message of the answer that is compressed.
    compress_min_bytes: usize,
}

impl OwnServices {
    pub(super) fn new(
        dispatcher: Arc<Dispatcher>,
        health: Health,
        options: &ServerOptions,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            reflection: options.reflection.then(|| Reflection::new(dispatcher.clone())),
            dispatcher,
            policies: options.host_policies.clone(),
            health,
            draining,
        }
    }

    /// Whether the path is of one of them. No plugin serves these.
    pub(super) fn have(path: &str) -> bool {
        let service = path.split('/').nth(1).unwrap_or_default();
        matches!(service, HEALTH | REFLECTION | REFLECTION_V1ALPHA)
    }

    pub(super) fn call(self: Arc<Self>, request: Request<Body>, caller: Caller) -> Answer {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let answer = self.answer(request, caller).await;
            Ok(answer.unwrap_or_else(|failure| {
                self.dispatcher.note_unrouted(&failure, &path);
                self.dispatcher.failed(&failure)
            }))
        })
    }

    fn method(&self, path: &str) -> Option<Method<'_>> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        match (service, method) {
            (HEALTH, "Check") => Some(Method::Check),
            (HEALTH, "List") => Some(Method::List),
            (HEALTH, "Watch") => Some(Method::Watch),
            (REFLECTION, "ServerReflectionInfo") => self.reflection.as_ref().map(Method::Reflect),
            (REFLECTION_V1ALPHA, "ServerReflectionInfo") => {
                self.reflection.as_ref().map(Method::ReflectV1Alpha)
            }
            _ => None,
        }
    }

    async fn answer(self: &Arc<Self>, request: Request<Body>, caller: Caller) -> Result<Response, Failure> {
        let arrived = Instant::now();
        let (head, body) = request.into_parts();
        let limits = &self.dispatcher.limits;
        check_size(&head, limits.max_metadata_bytes)?;
        let path = head.uri.path();
        let method = self.method(path).ok_or_else(|| unknown_method(path))?;
        let streams = !matches!(method, Method::Check | Method::List);
        let policy = self.policies.of(path, streams);
        let deadline = Deadline::from_headers(&head.headers, arrived, &policy.deadline)
            .map_err(|_| Failure::MalformedTimeout)?;
        let auth = &self.dispatcher.auth;
        auth.admit(&policy.access, &head.headers, &head.extensions)?;
        check_entries(&head.headers, limits.max_metadata_entries)?;
        let mut call = Call {
            own: self.clone(),
            path: path.to_owned(),
            headers: head.headers,
            body,
            client: caller.client,
            deadline,
            ending: ending(deadline, self.draining.clone()),
            in_use: caller.activity.begin(),
            compress_min_bytes: policy.compress_min_bytes,
        };
        Ok(match method {
            Method::Check => {
                let answer = self.health.check(&call.message().await?)?;
                call.answered(&answer).await
            }
            Method::List => {
                call.message::<HealthListRequest>().await?;
                call.answered(&self.health.list()).await
            }
            Method::Watch => {
                let statuses = self.health.clone().watch(call.message().await?);
                call.streamed(statuses.map(Ok))
            }
            Method::Reflect(reflection) => {
                let answers = call.each::<v1::ServerReflectionRequest>(reflection)?;
                call.streamed(answers)
            }
            Method::ReflectV1Alpha(reflection) => {
                let answers = call.each::<v1alpha::ServerReflectionRequest>(reflection)?;
                call.streamed(answers)
            }
        })
    }

    async fn encode(
        &self,
        message: &impl Message,
        encoding: Option<Encoding>,
        compress_min_bytes: usize,
    ) -> Encoded {
        let compression = &self.dispatcher.limits.compression;
        compression
            .compress(message.encode_to_vec(), encoding, compress_min_bytes)
            .await
    }
}

impl Call {
    /// The one message of the request, unless the call ends before it has come.
    async fn message<M: Message + Default>(&mut self) -> Result<M, Failure> {
        let limits = &self.own.dispatcher.limits;
        let (body, client) = (std::mem::take(&mut self.body), self.client.clone());
        let read = framing::read_unary(&self.headers, body, client, &limits.requests, &limits.compression);
        let (message, _held) = tokio::select! {
            // First what has come already: health still says NOT_SERVING then.
            biased;
            read = read => read?,
            ended = &mut self.ending => return Err(ended),
        };
        self.in_time()?;
        parse(&message)
    }

    /// Timers are late by up to a millisecond; what has expired never starts.
    fn in_time(&self) -> Result<(), Failure> {
        if self.deadline.expired() {
            return Err(Failure::DeadlineExceeded);
        }
        Ok(())
    }

    /// The answer to each message of the request, as it comes.
    fn each<Q: Asked>(
        &mut self,
        reflection: &Reflection,
    ) -> Result<impl Stream<Item = Result<Q::Answer, Failure>> + Send + use<Q>, Failure> {
        self.in_time()?;
        let limits = &self.own.dispatcher.limits;
        let requests = Requests::new(
            &self.headers,
            std::mem::take(&mut self.body),
            self.client.clone(),
            &limits.requests,
            &limits.compression,
        )?;
        let start = (requests, reflection.clone());
        Ok(try_unfold(start, |(mut requests, reflection)| async move {
            let Some((message, _held)) = requests.next().await? else {
                return Ok(None);
            };
            let answer = parse::<Q>(&message)?.answer(&reflection);
            Ok(Some((answer, (requests, reflection))))
        }))
    }

    /// What the client takes answers in, if they are compressed.
    fn accepted(&self) -> Option<Encoding> {
        let compression = &self.own.dispatcher.limits.compression;
        compression.of_answer(&self.headers)
    }

    async fn answered(self, message: &impl Message) -> Response {
        let encode = self.own.encode(message, self.accepted(), self.compress_min_bytes);
        framing::ok(encode.await, HeaderMap::new(), HeaderMap::new())
    }

    fn streamed(
        self,
        messages: impl Stream<Item = Result<impl Message + 'static, Failure>> + Send + 'static,
    ) -> Response {
        let (encoding, compress_min_bytes) = (self.accepted(), self.compress_min_bytes);
        let (own, path) = (self.own.clone(), self.path);
        let encoded = messages.then(move |message| {
            let own = self.own.clone();
            async move { Ok(own.encode(&message?, encoding, compress_min_bytes).await) }
        });
        let until = Until::new(encoded, self.ending, self.in_use);
        framing::stream(
            encoding,
            until.map(move |message| {
                message.map_err(|failure| {
                    own.dispatcher.note_unrouted(&failure, &path);
                    own.dispatcher.status(&failure)
                })
            }),
        )
    }
}

fn parse<M: Message + Default>(message: &[u8]) -> Result<M, Failure> {
    M::decode(message).map_err(|_| Failure::MalformedMessage)
}
