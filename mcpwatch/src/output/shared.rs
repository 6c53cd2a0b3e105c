//! The JSON text of what many records share (host, server, process, and the call of effects in a row), made once: it is
//! more than half of a record's text, and of the time to write one.

use std::sync::Arc;

use foldhash::HashMap;
use serde::ser::{Error, SerializeMap};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::json;
use crate::record::{Call, Host, Process, Record, Server};

/// Most texts kept of a kind, and bytes of each: about a megabyte at the worst.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 4096;

/// What is kept between records.
#[derive(Default)]
pub(super) struct SharedTexts {
    hosts: Texts<Host>,
    servers: Texts<Server>,
    processes: Texts<Process>,
    calls: Texts<Call>,
}

/// Texts by the address of the value; holding the value keeps its address its own.
struct Texts<T>(HashMap<usize, (Arc<T>, Box<RawValue>)>);

impl<T> Default for Texts<T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<T: Serialize> Texts<T> {
    /// Makes sure that the text of a value is kept, unless it is long.
    fn learn(&mut self, value: &Arc<T>) -> serde_json::Result<()> {
        let address = Arc::as_ptr(value).addr();
        if self.0.contains_key(&address) {
            return Ok(());
        }
        let mut text = Vec::new();
        json::append(&**value, &mut text)?;
        text.pop();
        if text.len() <= KEPT_BYTES {
            if self.0.len() >= KEPT {
                // Rare, and what is needed again is soon back.
                self.0.clear();
            }
            let text = String::from_utf8(text).map_err(serde_json::Error::custom)?;
            self.0.insert(address, (Arc::clone(value), RawValue::from_string(text)?));
        }
        Ok(())
    }

    fn get(&self, value: &Arc<T>) -> Option<&RawValue> {
        self.0.get(&Arc::as_ptr(value).addr()).map(|(_, text)| &**text)
    }
}

impl SharedTexts {
    /// Appends a record as [`json::append`] does: the same bytes, sooner.
    pub(super) fn append(&mut self, record: &Record, out: &mut Vec<u8>) -> serde_json::Result<()> {
        self.hosts.learn(&record.host)?;
        if let Some(server) = &record.server {
            self.servers.learn(server)?;
        }
        if let Some(process) = &record.process {
            self.processes.learn(process)?;
        }
        if let Some(call) = &record.call
            && Arc::strong_count(call) > 1
        {
            self.calls.learn(call)?;
        }
        json::append(&Line { record, texts: self }, out)
    }
}

/// A record whose shared parts are texts already.
struct Line<'a> {
    record: &'a Record,
    texts: &'a SharedTexts,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = self.texts;
        // In the order of the struct, and without `..`: a new field does not compile until it is here.
        let Record {
            schema,
            seq,
            time,
            kind,
            host,
            server,
            process,
            call,
            relation,
            exec,
            exit,
            file,
            privilege,
            access,
            net,
            dns,
            tls,
            mcp,
            alert,
            loss,
            status,
            truncated,
            redacted,
        } = self.record;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", schema)?;
        map.serialize_entry("seq", seq)?;
        map.serialize_entry("time", time)?;
        map.serialize_entry("type", kind)?;
        put_shared(&mut map, "host", host, &texts.hosts)?;
        if let Some(server) = server {
            put_shared(&mut map, "server", server, &texts.servers)?;
        }
        if let Some(process) = process {
            put_shared(&mut map, "process", process, &texts.processes)?;
        }
        if let Some(call) = call {
            put_shared(&mut map, "call", call, &texts.calls)?;
        }
        put(&mut map, "relation", relation.as_ref())?;
        put(&mut map, "exec", exec.as_ref())?;
        put(&mut map, "exit", exit.as_ref())?;
        put(&mut map, "file", file.as_ref())?;
        put(&mut map, "privilege", privilege.as_ref())?;
        put(&mut map, "access", access.as_ref())?;
        put(&mut map, "net", net.as_ref())?;
        put(&mut map, "dns", dns.as_ref())?;
        put(&mut map, "tls", tls.as_ref())?;
        put(&mut map, "mcp", mcp.as_ref())?;
        put(&mut map, "alert", alert.as_ref())?;
        put(&mut map, "loss", loss.as_ref())?;
        put(&mut map, "status", status.as_ref())?;
        put(&mut map, "truncated", Some(truncated).filter(|names| !names.is_empty()))?;
        put(&mut map, "redacted", Some(redacted).filter(|names| !names.is_empty()))?;
        map.end()
    }
}

fn put<M: SerializeMap, T: Serialize>(
    map: &mut M,
    name: &'static str,
    value: Option<&T>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, value))
}

fn put_shared<M: SerializeMap, T: Serialize>(
    map: &mut M,
    name: &'static str,
    value: &Arc<T>,
    texts: &Texts<T>,
) -> Result<(), M::Error> {
    match texts.get(value) {
        Some(text) => map.serialize_entry(name, text),
        None => map.serialize_entry(name, &**value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;
    use crate::record::{RecordType, Time};

    fn both(texts: &mut SharedTexts, record: &Record) -> (String, String) {
        let (mut fast, mut plain) = (Vec::new(), Vec::new());
        texts.append(record, &mut fast).unwrap();
        json::append(record, &mut plain).unwrap();
        (String::from_utf8(fast).unwrap(), String::from_utf8(plain).unwrap())
    }

    #[test]
    fn the_bytes_are_those_of_the_record_itself() {
        let mut texts = SharedTexts::default();
        let bare = Record::new(RecordType::Status, Time(0), samples::host());
        for record in samples::one_of_each().into_iter().chain([bare]) {
            for _ in 0..2 {
                let (fast, plain) = both(&mut texts, &record);
                assert_eq!(fast, plain);
            }
        }
    }

    #[test]
    fn a_call_of_several_records_is_kept_and_that_of_one_is_not() {
        let mut texts = SharedTexts::default();
        let first = samples::open("/x");
        let (fast, plain) = both(&mut texts, &first);
        assert_eq!((fast, texts.calls.0.len()), (plain, 0));
        let second = first.clone();
        for record in [&first, &second] {
            let (fast, plain) = both(&mut texts, record);
            assert_eq!((fast, texts.calls.0.len()), (plain, 1));
        }
    }

    #[test]
    fn long_and_many_values_are_written_but_not_kept() {
        let mut texts = SharedTexts::default();
        let mut record = samples::open("/x");
        for number in 0..1000 {
            let process = Arc::make_mut(record.process.as_mut().unwrap());
            process.pid = number;
            process.argv = vec!["\u{9b}hostile".repeat(number as usize)];
            let (fast, plain) = both(&mut texts, &record);
            assert_eq!(fast, plain);
            assert!(texts.processes.0.len() <= KEPT);
        }
    }

    #[test]
    #[ignore = "a measurement: cargo test --release -- --ignored --nocapture json_throughput"]
    fn json_throughput() {
        let open = samples::open("/home/ada/project/src/main.rs");
        let mut texts = SharedTexts::default();
        let mut out = Vec::new();
        let start = std::time::Instant::now();
        let rounds = 200_000_u32;
        for _ in 0..rounds {
            out.clear();
            texts.append(&open, &mut out).unwrap();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{:.0} records/s of {} bytes", f64::from(rounds) / seconds, out.len());
    }
}
