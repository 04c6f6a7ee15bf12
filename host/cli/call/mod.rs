//! `mortise call`: one unary call, described by the server's own reflection.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::Context;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::connect::{TlsArgs, connect};
use super::exit::UsageError;
use super::{WithHint, print, timeout};

mod codec;
mod metadata;
mod method;
mod reflection;
mod show;

use codec::BytesCodec;
use metadata::Header;
use method::MethodName;
pub(super) use show::NotOk;

/// The largest message that is taken from a server.
const MAX_RESPONSE_BYTES: usize = 256 << 20;

/// Calls a unary method of any gRPC server that offers reflection.
///
/// The response is printed as JSON on standard output. Initial metadata, trailing metadata, status and its
/// details go to standard error: with `--verbose`, and whenever the status is not OK. Then the exit code is
/// 64 plus the status's number.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise call order.v1.OrderService/GetOrder -d '{\"id\": \"ORD-1\"}'
  mortise call order.v1.OrderService/CreateOrder -d @order.json -H 'user-id: ann' --timeout 2s -v
  echo '{}' | mortise call order.v1.OrderService/ListOrders -d - --addr 127.0.0.1:8080
  mortise call order.v1.OrderService/GetOrder --addr orders.example:443 --tls
  mortise call order.v1.OrderService/GetOrder --addr localhost:50051 --cacert ca.pem --cert me.pem --key me-key.pem")]
pub(super) struct CallArgs {
    /// The method, as package.Service/Method, with or without a slash before it.
    #[arg(value_name = "METHOD")]
    method: MethodName,

    /// The request message in JSON; @FILE reads it from a file, - from standard input.
    #[arg(short, long, value_name = "JSON", default_value = "{}")]
    data: String,

    /// Adds an entry to the request metadata. Can be given several times. The value of a key that ends in
    /// -bin is given in base64.
    #[arg(short = 'H', long = "header", value_name = "KEY: VALUE")]
    headers: Vec<Header>,

    /// How long the call may take, such as 500ms, 2s or 1m. By default there is no deadline.
    #[arg(long, value_name = "DURATION", value_parser = timeout::parse)]
    timeout: Option<Duration>,

    /// The server's address, HOST:PORT or unix:PATH.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50051")]
    addr: String,

    /// Shows metadata and status too.
    #[arg(short, long)]
    verbose: bool,

    #[command(flatten)]
    tls: TlsArgs,
}

pub(super) fn run(args: CallArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(call(args))
}

async fn call(args: CallArgs) -> anyhow::Result<()> {
    let data = read_data(&args.data)?;
    let channel = connect(&args.addr, &args.tls).await?;
    let method = reflection::find_method(channel.clone(), &args.method).await?;
    if method.is_client_streaming() || method.is_server_streaming() {
        anyhow::bail!(
            "{} is a streaming method; `mortise call` makes unary calls only",
            args.method
        );
    }
    let request = encode(&data, method.input())?;

    let answer = unary(channel, &args, request).await;
    match answer.result {
        Ok(message) => {
            if args.verbose {
                eprint!("{}", show::metadata("initial metadata", &answer.initial));
                eprint!("{}", show::metadata("trailing metadata", &answer.trailing));
                eprintln!("status: OK");
            }
            print(&format!("{}\n", decode(message, method.output())?))
        }
        // Only what the transport reports has a source: no server answered with it.
        Err(status) if std::error::Error::source(&status).is_some() => {
            let error = anyhow::anyhow!("the connection to {} was lost before the answer came", args.addr);
            Err(error).hint(format!(
                "{}; whether the call took effect is not known",
                show::innermost_cause(&status)
            ))
        }
        Err(status) => {
            let types = show::Types::of_server(method.parent_pool());
            Err(NotOk::new(&answer.initial, &status, &types).into())
        }
    }
}

/// The bytes that `-d` stands for.
fn read_data(data: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    match data.strip_prefix('@') {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read the request from {file}"))
        }
        None if data == "-" => {
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read the request from standard input")?;
            Ok(text)
        }
        None => Ok(data.to_owned()),
    }
}

fn encode(data: &str, message: MessageDescriptor) -> anyhow::Result<Vec<u8>> {
    let name = message.full_name().to_owned();
    let fields: Vec<_> = message
        .fields()
        .map(|field| field.json_name().to_owned())
        .collect();
    let fields = if fields.is_empty() {
        "no fields".to_owned()
    } else {
        fields.join(", ")
    };
    let mut json = serde_json::Deserializer::from_str(data);
    DynamicMessage::deserialize(message, &mut json)
        .and_then(|request| json.end().map(|()| request.encode_to_vec()))
        .map_err(|error| UsageError(format!("the request does not fit {name}: {error}")))
        .hint(format!("{name} has {fields}"))
}

fn decode(message: bytes::Bytes, descriptor: MessageDescriptor) -> anyhow::Result<String> {
    let name = descriptor.full_name().to_owned();
    let message = DynamicMessage::decode(descriptor, message)
        .with_context(|| format!("the response is not a {name}, as the server describes it"))?;
    show::json(&message)
}

struct Answer {
    initial: MetadataMap,
    trailing: MetadataMap,
    result: Result<bytes::Bytes, Status>,
}

/// Makes the call, keeping initial and trailing metadata apart.
async fn unary(channel: Channel, args: &CallArgs, message: Vec<u8>) -> Answer {
    let mut answer = Answer {
        initial: MetadataMap::new(),
        trailing: MetadataMap::new(),
        result: Ok(bytes::Bytes::new()),
    };
    let mut request = tonic::Request::new(tokio_stream::once(bytes::Bytes::from(message)));
    for header in &args.headers {
        header.add_to(request.metadata_mut());
    }
    if let Some(timeout) = args.timeout {
        request.set_timeout(timeout);
    }
    let started = Instant::now();
    let exchange = exchange(channel, &args.method, request, &mut answer);
    let result = match args.timeout {
        None => exchange.await,
        Some(timeout) => match tokio::time::timeout(timeout, exchange).await {
            // The channel and some servers watch the deadline as well, and call its expiry a cancellation.
            Ok(Err(status)) if status.code() == Code::Cancelled && started.elapsed() >= timeout => {
                Err(expired(timeout))
            }
            Ok(result) => result,
            Err(_) => Err(expired(timeout)),
        },
    };
    answer.result = result;
    answer
}

fn expired(timeout: Duration) -> Status {
    Status::deadline_exceeded(format!(
        "no answer within {}",
        humantime::format_duration(timeout)
    ))
}

async fn exchange(
    channel: Channel,
    method: &MethodName,
    request: tonic::Request<tokio_stream::Once<bytes::Bytes>>,
    answer: &mut Answer,
) -> Result<bytes::Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
    client
        .ready()
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    // As a stream, because only a stream tells initial from trailing metadata.
    let (initial, mut messages, _) = client
        .streaming(request, method.path(), BytesCodec)
        .await?
        .into_parts();
    answer.initial = initial;
    let message = messages.message().await?;
    answer.trailing = messages.trailers().await?.unwrap_or_default();
    message.ok_or_else(|| Status::internal("the server answered OK without a message"))
}

/// Responses as protobuf's JSON mapping has them, with 64-bit numbers as strings.
const JSON: SerializeOptions = SerializeOptions::new();
