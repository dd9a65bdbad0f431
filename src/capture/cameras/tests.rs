use std::sync::Mutex;

use access::Credentials;
use catalog::{MemoryCatalog, testing};

use super::*;

const ROOT: Credentials<'static> = Credentials::AccessKey { id: "AKIDTEST", secret: "correct horse battery" };

/// Takes nothing: nothing is received here.
struct Nowhere;

#[async_trait::async_trait]
impl Sink for Nowhere {
    async fn open(&self, _: Permit, _: &str) -> Result<Box<dyn Session>, SinkError> {
        Err(SinkError { message: "this sink takes nothing".into(), retry: false })
    }
}

/// Who pushes: whoever was put here.
#[derive(Default)]
struct Pushing(Mutex<Vec<String>>);

impl Pushes for Pushing {
    fn status(&self, stream: &str) -> Option<Status> {
        let here = self.0.lock().unwrap().iter().any(|s| s == stream);
        here.then(|| Status { state: State::Running, ..Status::default() })
    }
    fn streams(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
    fn end(&self, stream: &str) {
        self.0.lock().unwrap().retain(|s| s != stream);
    }
}

struct Site {
    world: World,
    catalog: Arc<dyn Catalog>,
    gate: Gate,
    pushing: Arc<Pushing>,
}

impl Site {
    async fn new() -> Site {
        let (world, _) = testing::world(11);
        let catalog: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new(world.clone()));
        let keys = Arc::new(seal::LocalKey::new(seal::DataKey::new([3; 32])));
        let root = Some(("AKIDTEST".into(), "correct horse battery".into()));
        let (gate, _) =
            Gate::open(world.clone(), catalog.clone(), keys, Home::default(), root).await.unwrap();
        Site { world, catalog, gate, pushing: Arc::default() }
    }
    /// As each start does.
    async fn open(&self) -> Arc<Cameras> {
        let (world, catalog, gate) = (self.world.clone(), self.catalog.clone(), self.gate.clone());
        Cameras::open(world, catalog, gate, Home::default(), Arc::new(Nowhere), Some(self.pushing.clone()))
            .await
            .unwrap()
    }
    async fn permit(&self, action: access::Action) -> Permit {
        self.gate.admit(ROOT, action, &Home::default().own("camera/yard")).await.unwrap()
    }
    async fn add(
        &self,
        c: &Cameras,
        name: &str,
        source: Source,
        sub: Option<pull::Source>,
    ) -> Result<Camera, CameraError> {
        c.add(self.permit(actions::CREATE_CAMERA).await, name, source, sub).await
    }
}

fn at(url: &str) -> pull::Source {
    pull::Source::new(url.parse().unwrap(), pull::Transport::Tcp, false)
}

const MAIN: &str = "rtsp://u:hush@127.0.0.1:9/main";
const LOW: &str = "rtsp://u:quiet@127.0.0.1:9/low";

#[tokio::test]
async fn a_sub_is_kept_sealed_and_found_again() {
    let site = Site::new().await;
    let cameras = site.open().await;
    for (name, source) in [("yard", Source::Pull(at(MAIN))), ("stage", Source::Push)] {
        let made = site.add(&cameras, name, source.clone(), Some(at(LOW))).await.unwrap();
        assert_eq!(made.sub_stream().as_deref(), Some(format!("{name}.sub").as_str()));
        let again = site.open().await.get(name).unwrap();
        assert_eq!((again.source, again.sub), (source, Some(at(LOW))));
        let doc = site.catalog.get(KIND, name).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&doc.body).into_owned();
        for secret in ["hush", "quiet", "127.0.0.1"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert_eq!(cameras.names(), ["stage", "yard"]);
    let mut streams = cameras.streams();
    streams.sort();
    assert_eq!(streams, ["stage", "stage.sub", "yard", "yard.sub"]);
    assert_eq!(cameras.seen("yard.sub").status.state, State::Connecting);
}

#[tokio::test]
async fn documents_of_before_there_were_subs_load_and_urls_do_not_change_places() {
    let site = Site::new().await;
    let sealed = site.gate.seal_secret(b"camera url\0yard", MAIN.as_bytes());
    let put = async |body: serde_json::Value, id: &str| {
        let (kind, id) = (KIND.to_owned(), id.to_owned());
        let body = serde_json::to_vec(&body).unwrap();
        let doc = Document { kind, id, version: 0, body, keys: vec![] };
        site.catalog.commit(vec![Change::Put { doc, expect: 0 }]).await.unwrap();
    };
    let old = serde_json::json!({
        "kind": "pull", "sealedUrl": sealed, "transport": "tcp", "tlsInsecure": false, "enabled": false, "created": 5,
    });
    put(old.clone(), "yard").await;
    put(serde_json::json!({"kind": "push", "enabled": true, "created": 5}), "stage").await;
    // The main URL in the sub's place.
    let mut moved = old.clone();
    moved["sub"] = serde_json::json!({"sealedUrl": sealed, "transport": "tcp", "tlsInsecure": false});
    put(moved, "moved").await;
    let cameras = site.open().await;
    let yard = cameras.get("yard").unwrap();
    assert_eq!((yard.source, yard.sub, yard.enabled), (Source::Pull(at(MAIN)), None, false));
    assert_eq!(cameras.get("stage").unwrap().source, Source::Push);
    assert_eq!(cameras.get("moved"), None, "what does not open is left out");
}

#[tokio::test]
async fn a_change_of_one_source_leaves_the_other_alone() {
    let site = Site::new().await;
    let cameras = site.open().await;
    site.add(&cameras, "yard", Source::Pull(at(MAIN)), None).await.unwrap();
    let change = async |enabled, source, sub| {
        cameras.update(site.permit(actions::UPDATE_CAMERA).await, "yard", enabled, source, sub).await
    };
    let running = |stream: &str| cameras.pulls.lock().unwrap().get(stream).map(pull::Handle::status);
    let main = running("yard").unwrap();
    assert!(running("yard.sub").is_none());
    change(None, None, Some(Some(at(LOW)))).await.unwrap();
    let sub = running("yard.sub").unwrap();
    assert!(main.same_channel(&running("yard").unwrap()), "the main goes on");
    change(None, Some(Source::Pull(at(LOW))), None).await.unwrap();
    assert!(sub.same_channel(&running("yard.sub").unwrap()), "the sub goes on");
    assert!(!main.same_channel(&running("yard").unwrap()), "the main begins anew");
    change(Some(false), None, None).await.unwrap();
    assert!(running("yard").is_none() && running("yard.sub").is_none());
    let words = |stream: &str| cameras.seen(stream).status.detail;
    assert_eq!((words("yard"), words("yard.sub")), ("switched off".into(), "switched off".into()));
    change(Some(true), None, None).await.unwrap();
    assert!(running("yard").is_some() && running("yard.sub").is_some());
    change(None, None, Some(None)).await.unwrap();
    assert!(running("yard").is_some() && running("yard.sub").is_none());
    assert_eq!(cameras.streams(), ["yard"]);
    let wrong = change(None, None, Some(Some(at("http://127.0.0.1/x")))).await;
    assert!(matches!(wrong, Err(CameraError::Source(_))), "{wrong:?}");
    change(None, None, Some(Some(at(LOW)))).await.unwrap();
    cameras.remove(site.permit(actions::DELETE_CAMERA).await, "yard").await.unwrap();
    assert!(running("yard").is_none() && running("yard.sub").is_none() && cameras.names().is_empty());
}

#[tokio::test]
async fn a_subs_name_is_nobody_elses() {
    let site = Site::new().await;
    let cameras = site.open().await;
    let pull = || Source::Pull(at(MAIN));
    let is = |r: Result<Camera, CameraError>| matches!(r, Err(CameraError::SubName { sub, of }) if sub == "yard.sub" && of == "yard");
    site.add(&cameras, "yard", pull(), Some(at(LOW))).await.unwrap();
    assert!(is(site.add(&cameras, "yard.sub", pull(), None).await));
    cameras.remove(site.permit(actions::DELETE_CAMERA).await, "yard").await.unwrap();
    site.add(&cameras, "yard.sub", pull(), None).await.unwrap();
    assert!(is(site.add(&cameras, "yard", pull(), Some(at(LOW))).await));
    site.add(&cameras, "yard", pull(), None).await.unwrap();
    let permit = site.permit(actions::UPDATE_CAMERA).await;
    assert!(is(cameras.update(permit, "yard", None, None, Some(Some(at(LOW)))).await));
    // Somebody pushes to a stream of that name.
    site.pushing.0.lock().unwrap().push("gate.sub".into());
    assert!(site.add(&cameras, "gate", pull(), Some(at(LOW))).await.is_err());
    site.pushing.0.lock().unwrap().clear();
    site.add(&cameras, "gate", pull(), Some(at(LOW))).await.unwrap();
    site.pushing.0.lock().unwrap().push("gate.sub".into());
    assert_eq!(cameras.names(), ["gate", "yard", "yard.sub"], "a sub is no camera, whoever publishes to it");
}
