//! What the imports are answered with: values of their types, made of any bytes. Tuples are encoded as records,
//! and numbers as cases.

use serde::Serialize;

use crate::fuzzing::Input;

/// Of a list.
const MAX_ENTRIES: u8 = 5;

type Error = (u32, String, Option<u64>);

/// The encoded answer of a function.
pub(super) fn answer(function: &str, script: Input<'_>) -> Vec<u8> {
    let mut made = Made(script);
    match function {
        "call.metadata" => encode(&made.list(Made::bytes)),
        "call.all-metadata" => encode(&made.list(Made::entry)),
        "call.deadline" | "call.remaining" => encode(&made.option(Made::long)),
        "call.cancelled" => encode(&made.bool()),
        "call.peer" | "call.id" => encode(&made.text()),
        "call.principal" => encode(&made.option(|made| {
            let claims = |made: &mut Made<'_>| (made.text(), made.text());
            (made.text(), made.list(claims))
        })),
        "call.attempt" => encode(&(made.long() as u32)),
        "call.trace-context" => encode(&made.option(|made| (made.text(), made.option(Made::text)))),
        "store.get" => encode(&made.result(|made| made.option(Made::versioned))),
        "store.get-many" => encode(&made.result(|made| made.list(|made| made.option(Made::versioned)))),
        "store.scan" => encode(&made.result(|made| {
            let entry = |made: &mut Made<'_>| (made.bytes(), made.bytes(), made.long());
            (made.list(entry), made.option(Made::bytes))
        })),
        "store.insert" | "store.delete" | "store.put-if" | "store.delete-if" | "timers.cancel" => {
            encode(&made.result(Made::bool))
        }
        "store.put" | "events.publish" | "call.add-initial-metadata" | "call.add-trailing-metadata" => {
            encode(&made.result(|_| ()))
        }
        "timers.schedule" => encode(&made.result(Made::text)),
        "limits.take" => encode(&made.result(|made| (made.bool(), made.long()))),
        "log.max-level" => encode(&made.option(|made| made.case(5))),
        "log.write" => encode(&()),
        "config.get" => encode(&made.option(Made::text)),
        "upstream.call" => match made.bool() {
            true => encode(&Ok::<_, ()>((
                made.bytes(),
                made.list(Made::entry),
                made.list(Made::entry),
            ))),
            false => {
                let status = (made.case(16), made.text(), made.list(Made::entry));
                encode(&Err::<(), _>((
                    status,
                    made.case(2),
                    made.list(Made::entry),
                    made.list(Made::entry),
                )))
            }
        },
        other => panic!("an import without an answer: {other}"),
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("it can be encoded")
}

struct Made<'d>(Input<'d>);

impl Made<'_> {
    fn bool(&mut self) -> bool {
        self.0.byte() & 1 == 1
    }

    fn case(&mut self, cases: u8) -> u32 {
        u32::from(self.0.byte() % cases)
    }

    fn long(&mut self) -> u64 {
        u64::from(self.0.short()).wrapping_mul(0x1_0001_0001_0001)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let count = self.0.byte() % 24;
        (0..count).map(|_| self.0.byte()).collect()
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn entry(&mut self) -> (String, Vec<u8>) {
        (self.text(), self.bytes())
    }

    fn versioned(&mut self) -> (Vec<u8>, u64) {
        (self.bytes(), self.long())
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.0.byte() % (MAX_ENTRIES + 1);
        (0..count).map(|_| item(self)).collect()
    }

    fn option<T>(&mut self, item: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.bool().then(|| item(self))
    }

    /// One in four is an error.
    fn result<T>(&mut self, item: impl FnOnce(&mut Self) -> T) -> Result<T, Error> {
        match self.0.byte() % 4 {
            0 => Err((self.case(16), self.text(), self.option(Self::long))),
            _ => Ok(item(self)),
        }
    }
}
