use hyper::Method;
use serde_json::{Value, json};

use super::{recorded, segment, short, table, text, tracks};
use crate::{
    Failure,
    cli::{CameraCommand, CameraSetArgs, ClientArgs},
    client::Client,
};

/// One source: where from, how it goes, what its stream has.
fn source(v: &Value) {
    let from = match text(&v["source"], "kind") {
        "push" => "publishes to Rushes",
        _ => text(&v["source"], "url"),
    };
    println!(
        "  source    {from}\n  state     {}: {}\n  tracks    {}",
        text(v, "state"),
        text(v, "detail"),
        tracks(v)
    );
    println!("  units     {} in, {} out, {} packets lost", v["unitsIn"], v["unitsOut"], v["lost"]);
    if let Some(w) = v["clockWarning"].as_str() {
        println!("  clock     {w}");
    } else if v["timesEstimated"] == true {
        println!(
            "  clock     the camera does not tell its own: times are estimated from when pictures arrive"
        );
    }
    let r = recorded(v);
    println!(
        "  recorded  {}{}",
        r[0],
        if r[1].is_empty() { String::new() } else { format!(" to {}, {}", r[1], r[2]) }
    );
}

fn show(v: &Value, json: bool) {
    if json {
        println!("{v:#}");
        return;
    }
    println!("{}", text(v, "name"));
    source(v);
    if v["sub"].is_object() {
        println!("{} (sub)", text(&v["sub"], "stream"));
        source(&v["sub"]);
    }
    if let Some(u) = v["publishUrl"].as_str() {
        println!(
            "\nPublish to it with this URL, which is shown only now and is good for this stream alone:\n  {u}"
        );
        println!("For example:\n  ffmpeg -re -i video.mp4 -c copy -f rtsp -rtsp_transport tcp '{u}'");
    }
}

fn pulled(url: &str, transport: &str, tls_insecure: bool) -> Value {
    json!({"kind": "pull", "url": url, "transport": transport, "tlsInsecure": tls_insecure})
}

async fn set(args: CameraSetArgs) -> Result<(), Failure> {
    let pull = |url: &String| pulled(url, &args.transport, args.tls_insecure);
    let mut body = json!({});
    if let Some(url) = &args.url {
        body["source"] = pull(url);
    }
    if args.sub.is_some() || args.no_sub {
        body["sub"] = args.sub.as_ref().map_or(Value::Null, pull);
    }
    let (name, no_sub, json) = (args.name, args.no_sub, args.client.json);
    patch(&name, args.client, body).await?;
    if no_sub && !json {
        println!(
            "It has no sub now; what is recorded in {name}.sub stays (rushes stream remove {name}.sub)."
        );
    }
    Ok(())
}

/// What a probe found, in a line.
fn found(v: &Value) -> String {
    let server = v["server"].as_str().map(|s| format!(", {s}")).unwrap_or_default();
    format!("{} ({} ms{server})", tracks(v), v["elapsedMs"])
}

async fn patch(name: &str, client: ClientArgs, body: Value) -> Result<(), Failure> {
    let v = Client::new(&client)?
        .call(Method::PATCH, &format!("/v1/cameras/{}", segment(name)), Some(body))
        .await?;
    show(&v, client.json);
    Ok(())
}

pub async fn run(command: CameraCommand) -> Result<(), Failure> {
    match command {
        CameraCommand::List(args) => {
            let v = Client::new(&args)?.call(Method::GET, "/v1/cameras", None).await?;
            if args.json {
                println!("{v:#}");
                return Ok(());
            }
            let rows: Vec<_> = v["cameras"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|c| {
                    let row = |name: &str, s: &Value| {
                        let last = short(text(s, "lastFrame"));
                        vec![name.to_owned(), text(s, "state").to_owned(), text(s, "detail").to_owned(), last]
                    };
                    let sub = c["sub"].is_object().then(|| row("  sub", &c["sub"]));
                    [Some(row(text(c, "name"), c)), sub].into_iter().flatten()
                })
                .collect();
            table(&["CAMERA", "STATE", "DETAIL", "LAST FRAME"], &rows);
        }
        CameraCommand::Add { name, url, push: _, sub, transport, tls_insecure, client } => {
            let pull = |url: &str| pulled(url, &transport, tls_insecure);
            let source = url.map_or_else(|| json!({"kind": "push"}), |url| pull(&url));
            let mut body = json!({"name": name, "source": source});
            if let Some(url) = sub {
                body["sub"] = pull(&url);
            }
            let v = Client::new(&client)?.call(Method::POST, "/v1/cameras", Some(body)).await?;
            show(&v, client.json);
        }
        CameraCommand::Set(args) => set(args).await?,
        CameraCommand::Probe { url, sub, transport, tls_insecure, client } => {
            let c = Client::new(&client)?;
            let probe = |url: &str| {
                let body = json!({"url": url, "transport": transport, "tlsInsecure": tls_insecure});
                c.call(Method::POST, "/v1/cameras/probe", Some(body))
            };
            let Some(sub) = sub else {
                let v = probe(&url).await?;
                println!("{}", if client.json { format!("{v:#}") } else { found(&v) });
                return Ok(());
            };
            let of = |what: &str, r: Result<Value, Failure>| r.map_err(|e| Failure(format!("{what}: {e}")));
            let (main, sub) = tokio::join!(probe(&url), probe(&sub));
            // What one says is shown although the other fails.
            let (main, sub) = (of("main", main), of("sub", sub));
            if client.json {
                println!("{:#}", json!({"main": main?, "sub": sub?}));
                return Ok(());
            }
            for (what, v) in [("main", &main), ("sub", &sub)] {
                if let Ok(v) = v {
                    println!("{what:5} {}", found(v));
                }
            }
            main.and(sub)?;
        }
        CameraCommand::Show { name, client } => {
            let v = Client::new(&client)?
                .call(Method::GET, &format!("/v1/cameras/{}", segment(&name)), None)
                .await?;
            show(&v, client.json);
        }
        CameraCommand::Remove { name, delete_recordings, client } => {
            let q = if delete_recordings { "delete" } else { "keep" };
            let c = Client::new(&client)?;
            let sub =
                c.call(Method::GET, &format!("/v1/streams/{}", segment(&format!("{name}.sub"))), None).await;
            let subbed = sub.is_ok_and(|s| text(&s, "subOf") == name);
            c.call(Method::DELETE, &format!("/v1/cameras/{}?recordings={q}", segment(&name)), None).await?;
            if client.json {
                println!("{}", json!({"removed": name, "recordings": q}));
            } else {
                println!(
                    "removed {name}; its recordings{} are {}",
                    if subbed { " and its sub's" } else { "" },
                    if delete_recordings { "deleted" } else { "kept" }
                );
            }
        }
        CameraCommand::Disable { name, client } => patch(&name, client, json!({"enabled": false})).await?,
        CameraCommand::Enable { name, client } => patch(&name, client, json!({"enabled": true})).await?,
    }
    Ok(())
}
