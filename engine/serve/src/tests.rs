//! The server over real sockets, with a client that writes its own HTTP.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use engine_core::LogicalType;
use engine_table::deployment::{Lent, Media};
use engine_table::{ColumnType, NodeError};
use polars::prelude::{Column, DataFrame};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{Predictor, ServeError, ServeOptions, serve};

/// Doubles `x`; negative values are refused, 13 panics, 1000 waits until the test lets it go.
struct Doubler {
    request: Vec<ColumnType>,
    response: Vec<ColumnType>,
    entered: Mutex<Sender<()>>,
    gate: Mutex<Receiver<()>>,
    media: Arc<Media>,
    values: BTreeMap<String, Vec<Value>>,
}

impl Predictor for Doubler {
    fn values(&self) -> &BTreeMap<String, Vec<Value>> {
        &self.values
    }

    fn lend(&self, bytes: Vec<u8>) -> Lent {
        self.media.lend(bytes.into())
    }

    fn request(&self) -> &[ColumnType] {
        &self.request
    }

    fn response(&self) -> &[ColumnType] {
        &self.response
    }

    fn predict(&self, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let given = rows.column("x").and_then(|x| x.f64().cloned()).map_err(NodeError::failed)?;
        let mut doubled = Vec::with_capacity(rows.height());
        for (row, x) in given.into_no_null_iter().enumerate() {
            if x < 0.0 {
                return Err(NodeError::Failed(format!("column `x` is negative in row {row}")));
            }
            assert!(x != 13.0, "thirteen");
            if x == 1000.0 {
                self.entered.lock().unwrap().send(()).unwrap();
                // A sender that is gone lets everything go.
                let _ = self.gate.lock().unwrap().recv();
            }
            doubled.push(2.0 * x);
        }
        let column = Column::new("doubled".into(), doubled);
        DataFrame::new(rows.height(), vec![column]).map_err(NodeError::failed)
    }
}

/// A running server.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: Receiver<Result<(), ServeError>>,
    entered: Receiver<()>,
    gate: Option<Sender<()>>,
}

const PATIENCE: Duration = Duration::from_secs(120);

impl Server {
    fn start(change: impl FnOnce(&mut ServeOptions)) -> Server {
        let mut options = ServeOptions::new("doubler", "127.0.0.1:0".parse().unwrap(), 2);
        change(&mut options);
        let (entered, has_entered) = channel();
        let (gate, is_open) = channel();
        let predictor = Arc::new(Doubler {
            request: vec![ColumnType::new("x", LogicalType::Float)],
            response: vec![ColumnType::new("doubled", LogicalType::Float)],
            entered: Mutex::new(entered),
            gate: Mutex::new(is_open),
            media: Arc::default(),
            values: BTreeMap::new(),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let (listening, address) = channel();
        let (end, ended) = channel();
        thread::spawn(move || {
            let shutdown = async move {
                let _ = stopped.await;
            };
            let result = serve(predictor, &options, shutdown, |address| listening.send(address).unwrap());
            let _ = end.send(result);
        });
        let address = address.recv_timeout(PATIENCE).unwrap();
        Server { address, stop: Some(stop), ended, entered: has_entered, gate: Some(gate) }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { reader: BufReader::new(stream) }
    }

    fn predict(&self, body: &str) -> Reply {
        self.connect().post(body)
    }

    fn get(&self, path: &str) -> Reply {
        self.connect().send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    fn result(&self) -> Result<(), ServeError> {
        self.ended.recv_timeout(PATIENCE).unwrap()
    }
}

struct Client {
    reader: BufReader<TcpStream>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or("").to_owned()
    }
}

impl Client {
    fn post(&mut self, body: &str) -> Reply {
        self.write_post(body);
        self.read()
    }

    fn write_post(&mut self, body: &str) {
        let length = body.len();
        self.write(&format!(
            "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
    }

    fn send(&mut self, request: &str) -> Reply {
        self.write(request);
        self.read()
    }

    fn write(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn read(&mut self) -> Reply {
        self.read_answer_to("GET")
    }

    fn read_answer_to(&mut self, method: &str) -> Reply {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length =
            headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
        self.reader.read_exact(&mut body).unwrap();
        Reply { status, headers, body: String::from_utf8(body).unwrap() }
    }
}

#[test]
fn predictions_keep_the_order_of_rows() {
    let server = Server::start(|_| {});
    let reply = server.predict(r#"{"rows": [{"x": 1}, {"x": 0.25}]}"#);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.body, r#"{"predictions":[{"doubled":2.0},{"doubled":0.5}]}"#);
    assert_eq!(server.predict("[]").json(), json!({"predictions": []}));
}

#[test]
fn one_connection_carries_many_requests() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    for x in 100..120 {
        assert_eq!(
            client.post(&format!(r#"[{{"x": {x}}}]"#)).json()["predictions"][0]["doubled"],
            json!(2.0 * f64::from(x))
        );
        assert_eq!(client.post("[{}]").status, 422);
    }
}

#[test]
fn what_is_wrong_with_a_request_is_said_as_json() {
    let server = Server::start(|options| options.max_rows = 3);
    let row = server.predict(r#"[{"x": 1}, {"x": "abc"}]"#);
    assert_eq!(row.status, 422);
    let error = &row.json()["error"];
    assert_eq!(
        (error["code"].as_str(), error["row"].as_u64(), error["column"].as_str()),
        (Some("column.type"), Some(1), Some("x"))
    );
    let syntax = server.predict("{\"rows\":\n [{\"x\": }]}");
    assert_eq!(
        (syntax.status, syntax.code().as_str(), syntax.json()["error"]["line"].as_u64()),
        (400, "body.syntax", Some(2))
    );
    let many = server.predict("[{\"x\":1},{\"x\":1},{\"x\":1},{\"x\":1}]");
    assert_eq!((many.status, many.code().as_str()), (413, "rows.too_many"));
    let refused = server.predict(r#"[{"x": -1}]"#);
    assert_eq!((refused.status, refused.code().as_str()), (422, "prediction.refused"));
    assert!(refused.body.contains("negative in row 0"));
    let form = server
        .connect()
        .send("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\ncontent-length: 2\r\n\r\n[]");
    assert_eq!((form.status, form.code().as_str()), (415, "body.content_type"));
    let other = server.get("/nowhere");
    assert_eq!((other.status, other.code().as_str()), (404, "path.unknown"));
    let method = server.get("/predict");
    assert_eq!((method.status, method.code().as_str(), method.header("allow")), (405, "path.method", Some("POST")));
}

#[test]
fn a_body_may_not_be_larger_than_the_limit() {
    let server = Server::start(|options| options.max_body_bytes = 100);
    let stated = server.predict(&format!("[{}]", " ".repeat(200)));
    assert_eq!((stated.status, stated.code().as_str()), (413, "body.too_large"));
    let chunk = " ".repeat(200);
    let chunked = server.connect().send(&format!(
        "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nc8\r\n{chunk}\r\n0\r\n\r\n"
    ));
    assert_eq!((chunked.status, chunked.code().as_str()), (413, "body.too_large"));
}

#[test]
fn a_request_that_is_no_http_does_not_harm_the_next() {
    let server = Server::start(|_| {});
    for text in ["\r\n\r\n\0\0\0", "GET\r\n\r\n", "POST /predict HTTP/1.1\r\ncontent-length: -1\r\n\r\n"] {
        let mut client = server.connect();
        client.write(text);
        let mut answer = String::new();
        let _ = client.reader.read_line(&mut answer);
        assert!(answer.is_empty() || answer.contains("400"), "{answer}");
    }
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn state_schema_and_head_are_answered() {
    let server = Server::start(|_| {});
    assert_eq!(server.get("/ready").json(), json!({"status": "ready", "deployment": "doubler"}));
    let schema = server.get("/schema").json();
    assert_eq!(schema["request"]["anyOf"][0]["properties"]["rows"]["items"]["required"], json!(["x"]));
    let document = server.get("/openapi.json").json();
    assert_eq!((&document["openapi"], &document["info"]["title"]), (&json!("3.1.0"), &json!("doubler")));
    let mut client = server.connect();
    client.write("HEAD /health HTTP/1.1\r\nhost: x\r\n\r\n");
    let head = client.read_answer_to("HEAD");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(client.post(r#"[{"x": 1}]"#).status, 200);
}

#[test]
fn a_panic_is_an_answer_with_an_id_and_costs_no_worker() {
    let server = Server::start(|options| options.workers = 1);
    for _ in 0..3 {
        let reply = server.predict(r#"[{"x": 13}]"#);
        assert_eq!((reply.status, reply.code().as_str()), (500, "prediction.failed"));
        assert!(
            !reply.body.contains("thirteen") && reply.json()["error"]["id"].as_str().is_some_and(|id| !id.is_empty())
        );
    }
    assert_eq!(server.predict(r#"[{"x": 1}]"#).status, 200);
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let mut server = Server::start(|options| {
        options.workers = 1;
        options.queue = 1;
    });
    let mut held = server.connect();
    held.write_post(r#"[{"x": 1000}]"#);
    server.entered.recv_timeout(PATIENCE).unwrap();
    // The worker is held: of the next requests one waits and the others are sent away, whichever comes first.
    let mut clients = [server.connect(), server.connect(), server.connect()];
    for client in &mut clients {
        client.write_post(r#"[{"x": 1}]"#);
    }
    let waiting = loop {
        let page = server.get("/metrics").body;
        if page.contains(r#"route="/predict",status="503"} 2"#) {
            break page;
        }
    };
    assert!(waiting.contains("fuseline_requests_in_flight 3"), "{waiting}");
    server.gate.take();
    let mut replies: Vec<Reply> = clients.iter_mut().map(Client::read).collect();
    replies.sort_by_key(|reply| reply.status);
    assert_eq!(replies.iter().map(|reply| reply.status).collect::<Vec<_>>(), [200, 503, 503]);
    assert_eq!((replies[1].code().as_str(), replies[1].header("retry-after")), ("server.busy", Some("1")));
    assert_eq!(held.read().json()["predictions"][0]["doubled"], json!(2000.0));
}

#[test]
fn a_slow_prediction_is_given_up_and_its_worker_comes_back() {
    let mut server = Server::start(|options| {
        options.workers = 1;
        options.timeout = Duration::from_millis(200);
    });
    let slow = server.predict(r#"[{"x": 1000}]"#);
    assert_eq!((slow.status, slow.code().as_str()), (503, "server.timeout"));
    server.gate.take();
    // The worker may still be leaving the held prediction; it answers as soon as it has.
    let again = (0..1000).map(|_| server.predict(r#"[{"x": 1}]"#).status).find(|status| *status == 200);
    assert_eq!(again, Some(200));
}

#[test]
fn a_body_that_never_comes_is_given_up() {
    let server = Server::start(|options| options.timeout = Duration::from_millis(200));
    let reply = server
        .connect()
        .send("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n[");
    assert_eq!((reply.status, reply.code().as_str()), (408, "body.timeout"));
}

#[test]
fn many_clients_at_once_each_get_their_own_answer() {
    let server = Server::start(|options| options.queue = 64);
    thread::scope(|scope| {
        for client in 0..64 {
            let server = &server;
            let address = server.address;
            scope.spawn(move || {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut connection = Client { reader: BufReader::new(stream) };
                for request in 0..5 {
                    let x = f64::from(client * 100 + request + 2000);
                    let reply = connection.post(&format!(r#"[{{"x": {x}}}]"#));
                    assert_eq!(reply.json()["predictions"][0]["doubled"], json!(2.0 * x), "{reply:?}");
                }
            });
        }
    });
    let page = server.get("/metrics");
    assert!(page.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(page.body.contains("fuseline_predicted_rows_total 320\n"), "{}", page.body);
    assert!(page.body.contains(r#"fuseline_requests_total{route="/predict",status="200"} 320"#), "{}", page.body);
    assert!(page.body.ends_with("# EOF\n"));
}

#[test]
fn told_to_stop_the_server_finishes_what_is_under_way() {
    let mut server = Server::start(|options| options.drain = PATIENCE);
    let idle = server.connect();
    let mut kept = server.connect();
    assert_eq!(kept.post(r#"[{"x": 1}]"#).status, 200);
    let mut held = server.connect();
    held.write_post(r#"[{"x": 1000}]"#);
    server.entered.recv_timeout(PATIENCE).unwrap();
    server.stop();
    // Its connection is closed, so the server has heard.
    let mut rest = Vec::new();
    kept.reader.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    server.gate.take();
    assert_eq!(held.read().json()["predictions"][0]["doubled"], json!(2000.0));
    drop(idle);
    server.result().unwrap();
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut server = Server::start(|options| options.drain = Duration::from_millis(100));
    let mut held = server.connect();
    held.write_post(r#"[{"x": 1000}]"#);
    server.entered.recv_timeout(PATIENCE).unwrap();
    server.stop();
    assert!(matches!(server.result(), Err(ServeError::Drain { .. })));
    server.gate.take();
}

#[test]
fn an_address_in_use_is_named_with_the_way_out() {
    let server = Server::start(|_| {});
    let predictor = Arc::new(Doubler {
        request: Vec::new(),
        response: Vec::new(),
        entered: Mutex::new(channel().0),
        gate: Mutex::new(channel().1),
        media: Arc::default(),
        values: BTreeMap::new(),
    });
    let options = ServeOptions::new("doubler", server.address, 1);
    let error = serve(predictor, &options, std::future::pending(), |_| {}).unwrap_err().to_string();
    assert!(error.contains(&server.address.to_string()) && error.contains("--port 0"), "{error}");
}
