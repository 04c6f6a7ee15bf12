//! A plugin that misbehaves on request, one way per method of `proto/faults/v1/faults.proto`.
//!
//! The host's tests run it to prove that every kind of misbehaviour ends in its defined status. Built with
//! `FAULTS_VERSION=…` in the environment it reports that version, which tells builds apart in swap tests.

mod echo;
mod escape;
mod misbehave;
mod program;
mod resources;
mod state;
mod timers;

/// The messages and the service of `proto/faults/v1/faults.proto`.
pub mod pb {
    mortise_guest::include_proto!("faults.v1");
}

use std::sync::atomic::{AtomicU64, Ordering};

use mortise_guest::{Call, Config, ReadCall, Status};

const VERSION: &str = match option_env!("FAULTS_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// What the operator can set.
#[derive(Debug, Config)]
pub struct Settings {
    /// Returned by `ReadConfig`.
    pub greeting: Option<String>,
}

/// The service of faults.
#[derive(Debug)]
pub struct Faults;

#[mortise_guest::plugin(version = VERSION, config = Settings)]
impl pb::Faults for Faults {
    fn echo(call: &mut Call, request: pb::EchoRequest) -> Result<pb::EchoResponse, Status> {
        Ok(echo::echo(call, request))
    }

    fn echo_read(call: &mut ReadCall, request: pb::EchoRequest) -> Result<pb::EchoResponse, Status> {
        Ok(echo::echo(call, request))
    }

    fn r#loop(_: &mut Call, _: pb::LoopRequest) -> Result<pb::LoopResponse, Status> {
        resources::compute_for_ever()
    }

    fn spin(_: &mut Call, request: pb::SpinRequest) -> Result<pb::SpinResponse, Status> {
        let rounds = match request.rounds {
            0 => resources::compute_for(request.milliseconds),
            rounds => resources::compute(rounds),
        };
        Ok(pb::SpinResponse { rounds })
    }

    fn sleep(_: &mut Call, request: pb::SleepRequest) -> Result<pb::SleepResponse, Status> {
        Ok(pb::SleepResponse {
            slept: resources::sleep(request.milliseconds),
        })
    }

    fn panic(_: &mut Call, request: pb::PanicRequest) -> Result<pb::PanicResponse, Status> {
        panic!("{}", request.message)
    }

    fn trap(_: &mut Call, _: pb::TrapRequest) -> Result<pb::TrapResponse, Status> {
        resources::trap()
    }

    fn exit(_: &mut Call, request: pb::ExitRequest) -> Result<pb::ExitResponse, Status> {
        std::process::exit(request.code)
    }

    fn eat_memory(_: &mut Call, request: pb::EatMemoryRequest) -> Result<pb::EatMemoryResponse, Status> {
        Ok(pb::EatMemoryResponse {
            bytes: resources::eat_memory(request.abort),
        })
    }

    fn recurse(_: &mut Call, _: pb::RecurseRequest) -> Result<pb::RecurseResponse, Status> {
        Ok(pb::RecurseResponse {
            depth: resources::recurse(1),
        })
    }

    fn huge_answer(_: &mut Call, request: pb::HugeAnswerRequest) -> Result<pb::HugeAnswerResponse, Status> {
        Ok(pb::HugeAnswerResponse {
            payload: resources::bytes(request.bytes),
        })
    }

    fn fail(call: &mut Call, request: pb::FailRequest) -> Result<pb::FailResponse, Status> {
        Err(echo::failure(call, request))
    }

    fn fail_opaque(_: &mut Call, _: pb::FailOpaqueRequest) -> Result<pb::FailOpaqueResponse, Status> {
        Err(std::io::Error::other("the cause that only the operator may see"))?
    }

    fn set_metadata(
        call: &mut Call,
        request: pb::SetMetadataRequest,
    ) -> Result<pb::SetMetadataResponse, Status> {
        Ok(pb::SetMetadataResponse {
            errors: echo::set_metadata(call, request.initial, request.trailing),
        })
    }

    fn print(_: &mut Call, request: pb::PrintRequest) -> Result<pb::PrintResponse, Status> {
        for number in 1..=request.lines {
            let last = number == request.lines;
            let end = if request.unfinished && last { "" } else { "\n" };
            print!("{number} {}{end}", request.text);
            eprint!("{number} {}{end}", request.text);
        }
        Ok(pb::PrintResponse {})
    }

    fn log(_: &mut Call, request: pb::LogRequest) -> Result<pb::LogResponse, Status> {
        for number in 1..=request.lines {
            tracing::info!(number, text = request.text, "through tracing");
            log::info!("through log: {number} {}", request.text);
        }
        Ok(pb::LogResponse {})
    }

    fn count(call: &mut Call, _: pb::CountRequest) -> Result<pb::CountResponse, Status> {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        call.headers().insert("faults-version", VERSION)?;
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(pb::CountResponse {
            calls,
            version: VERSION.to_owned(),
        })
    }

    fn environment(_: &mut Call, request: pb::EnvironmentRequest) -> Result<pb::EnvironmentResponse, Status> {
        Ok(escape::try_everything(&request))
    }

    fn random(call: &mut Call, _: pb::RandomRequest) -> Result<pb::RandomResponse, Status> {
        Ok(pb::RandomResponse {
            bytes: call.random_bytes::<32>().to_vec(),
        })
    }

    fn read_config(call: &mut Call, _: pb::ReadConfigRequest) -> Result<pb::ReadConfigResponse, Status> {
        Ok(pb::ReadConfigResponse {
            greeting: Settings::load(call)?.greeting,
        })
    }

    fn write_then(call: &mut Call, request: pb::WriteThenRequest) -> Result<pb::WriteThenResponse, Status> {
        state::write_then(call, &request)
    }

    fn read(call: &mut ReadCall, request: pb::ReadRequest) -> Result<pb::ReadResponse, Status> {
        let found = call.store().get(request.key.as_bytes())?;
        Ok(pb::ReadResponse {
            value: found.map(|found| found.value),
        })
    }

    fn write_anyway(
        _: &mut ReadCall,
        request: pb::WriteAnywayRequest,
    ) -> Result<pb::WriteAnywayResponse, Status> {
        Ok(pb::WriteAnywayResponse {
            errors: state::write_anyway(&request.key),
        })
    }

    fn increment(call: &mut Call, request: pb::IncrementRequest) -> Result<pb::IncrementResponse, Status> {
        let value = state::increment(call, &request)?;
        Ok(pb::IncrementResponse {
            value,
            attempt: call.attempt(),
        })
    }

    fn publish(call: &mut Call, request: pb::PublishRequest) -> Result<pb::PublishResponse, Status> {
        call.publish_bytes(&request.topic, &request.key, &request.payload)?;
        Ok(pb::PublishResponse {})
    }

    fn schedule(call: &mut Call, request: pb::ScheduleRequest) -> Result<pb::ScheduleResponse, Status> {
        timers::schedule(call, request)
    }

    fn cancel_timer(
        call: &mut Call,
        request: pb::CancelTimerRequest,
    ) -> Result<pb::CancelTimerResponse, Status> {
        let cancelled = call.cancel_timer(&request.id)?;
        Ok(pb::CancelTimerResponse { cancelled })
    }

    fn remember(call: &mut Call, request: pb::RememberRequest) -> Result<pb::RememberResponse, Status> {
        timers::remember(call, &request)
    }

    fn run_program(
        call: &mut Call,
        request: pb::RunProgramRequest,
    ) -> Result<pb::RunProgramResponse, Status> {
        program::run(call, request)
    }

    fn take(call: &mut Call, request: pb::TakeRequest) -> Result<pb::TakeResponse, Status> {
        state::take(call, &request)
    }

    fn misbehave(call: &mut Call, request: pb::MisbehaveRequest) -> Result<pb::MisbehaveResponse, Status> {
        misbehave::misbehave(call, request.way()).map(|()| pb::MisbehaveResponse {})
    }
}
