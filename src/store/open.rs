//! URLs and options.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, Certificate, ClientOptions, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut},
    azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
    path::Path as Key,
};
use url::Url;
use world::Store;

use crate::{
    folder::Folder,
    read_only::ReadOnly,
    remote::{Remote, Service},
};

/// What a URL does not say. `default()` is right for AWS, with credentials from the environment.
#[derive(Clone)]
pub struct Options {
    /// The server, for what is not AWS, Google or Azure: `http://127.0.0.1:9000`. `http` is used as given: objects are
    /// sealed and requests signed, so that a listener sees names and sizes.
    pub endpoint: Option<String>,
    /// S3: the bucket's region. Otherwise `AWS_REGION`, otherwise us-east-1.
    pub region: Option<String>,
    /// S3: the bucket in the path (true) or in the host name.
    pub path_style: bool,
    /// S3: id and secret of the access key. Otherwise those of the environment (`AWS_ACCESS_KEY_ID`, …), of the
    /// container, or of the machine's metadata service.
    pub access_key: Option<(String, String)>,
    /// Certificates to trust besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a call may take, retries included, and as much longer as its bytes take at 64 KiB/s. (A connection on
    /// which nothing moves is given up after 30 s, however many bytes are left.)
    pub request_timeout: Duration,
    /// How often a read, an overwriting write or a deletion is tried again within that time.
    pub retries: usize,
    /// The largest object that is written by one request (S3's limit is 5 GiB); larger ones in parts.
    pub largest_put: u64,
    /// Whether to rely on the store for [`Store::create`]. If not, it looks first and then writes: two that create the
    /// same object at the same moment may both succeed.
    pub conditional_writes: bool,
    /// Only to look at it, perhaps beside the server that uses it: writes and deletions are refused (`Unsupported`), and
    /// a folder is neither made nor locked nor tidied.
    pub read_only: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            endpoint: None,
            region: None,
            path_style: true,
            access_key: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retries: 3,
            largest_put: 512 << 20,
            conditional_writes: true,
            read_only: false,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Options { endpoint, region, path_style, access_key, ca_file, .. } = self;
        let Options {
            connect_timeout,
            request_timeout,
            retries,
            largest_put,
            conditional_writes,
            read_only,
            ..
        } = self;
        f.debug_struct("Options")
            .field("endpoint", endpoint)
            .field("region", region)
            .field("path_style", path_style)
            .field("access_key_id", &access_key.as_ref().map(|(id, _)| id))
            .field("ca_file", ca_file)
            .field("connect_timeout", connect_timeout)
            .field("request_timeout", request_timeout)
            .field("retries", retries)
            .field("largest_put", largest_put)
            .field("conditional_writes", conditional_writes)
            .field("read_only", read_only)
            .finish()
    }
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a URL of a kind that is known.
    #[error(
        "{0:?} is not a store: give s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, or a folder as file:///PATH or /PATH{1}"
    )]
    Url(String, String),
    /// Options that do not go together, or that this kind of store does not have.
    #[error("{url}: {why}")]
    Options {
        /// The store.
        url: String,
        /// What is wrong with them.
        why: String,
    },
    /// A folder or file cannot be used.
    #[error("{}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has the folder open as a store.
    #[error("{}: another rushes is using this folder as its store", .0.display())]
    InUse(PathBuf),
    /// The runtime for requests cannot be made.
    #[error("cannot start threads for the object store: {0}")]
    Threads(io::Error),
}

enum Target {
    Folder(PathBuf),
    Bucket { service: Service, bucket: String, prefix: String },
}

fn bad(url: &str, why: impl std::fmt::Display) -> OpenError {
    OpenError::Url(url.to_owned(), format!(" ({why})"))
}

fn target(url: &str) -> Result<Target, OpenError> {
    if !url.contains("://") && !url.starts_with("file:") {
        // A word alone is more likely a bucket's name than a folder's.
        return match url.starts_with(['/', '.']) {
            true => Ok(Target::Folder(url.into())),
            false => Err(OpenError::Url(url.to_owned(), String::new())),
        };
    }
    let u = Url::parse(url).map_err(|e| bad(url, e))?;
    if !u.username().is_empty() || u.password().is_some() {
        // Not echoed: it may be a secret.
        let plain = format!("{}://{}", u.scheme(), u.host_str().unwrap_or_default());
        return Err(bad(&plain, "credentials do not belong in the URL: put them in the environment"));
    }
    if u.query().is_some() || u.fragment().is_some() {
        return Err(bad(url, "no ? and no #"));
    }
    let service = match u.scheme() {
        "file" => {
            let path = u.to_file_path().map_err(|()| bad(url, "a folder's URL is file:///PATH"))?;
            return Ok(Target::Folder(path));
        }
        "s3" | "s3a" => Service::S3,
        "gs" => Service::Google,
        "az" | "azure" => Service::Azure,
        other => return Err(bad(url, format_args!("{other}: is not known"))),
    };
    let bucket = u.host_str().filter(|h| !h.is_empty()).ok_or_else(|| bad(url, "no bucket"))?;
    if service == Service::S3 && bucket.ends_with("--x-s3") {
        return Err(bad(url, "directory buckets list in no order; take a general purpose bucket"));
    }
    let prefix = Key::from_url_path(u.path()).map_err(|e| bad(url, e))?;
    let prefix = if prefix.as_ref().is_empty() { String::new() } else { format!("{prefix}/") };
    Ok(Target::Bucket { service, bucket: bucket.to_owned(), prefix })
}

/// The folder that a store's URL names, if it names one.
pub fn local_path(url: &str) -> Option<PathBuf> {
    match target(url) {
        Ok(Target::Folder(path)) => Some(path),
        _ => None,
    }
}

/// Opens a store; for a remote one without speaking to it ([`crate::probe`] does).
///
/// The store's calls block: they may be made from any thread but an async runtime's workers (`spawn_blocking` is fine).
/// A folder is made if its parent exists, and locked: it has one user. Requests run on two threads of the store's own.
pub fn open(url: &str, options: &Options) -> Result<Arc<dyn Store>, OpenError> {
    let store: Arc<dyn Store> = match target(url)? {
        Target::Folder(path) if options.read_only => Arc::new(Folder::visit(&path)?),
        Target::Folder(path) => Arc::new(Folder::open(&path)?),
        Target::Bucket { service, bucket, prefix } => {
            let scheme = match service {
                Service::S3 => "s3",
                Service::Google => "gs",
                Service::Azure => "az",
            };
            let url = format!("{scheme}://{bucket}/{prefix}").trim_end_matches('/').to_owned();
            Arc::new(remote(service, url, &bucket, prefix, options)?)
        }
    };
    Ok(if options.read_only { Arc::new(ReadOnly(store)) } else { store })
}

fn client(url: &str, o: &Options, http: bool) -> Result<ClientOptions, OpenError> {
    let mut c = ClientOptions::new()
        .with_connect_timeout(o.connect_timeout)
        // Each call has a deadline of its own.
        .with_timeout_disabled()
        .with_allow_http(http);
    if let Some(path) = &o.ca_file {
        let pem = std::fs::read(path).map_err(|source| OpenError::Folder { path: path.clone(), source })?;
        let found = Certificate::from_pem_bundle(&pem).map_err(|e| OpenError::Options {
            url: url.to_owned(),
            why: format!("{}: {e}", path.display()),
        })?;
        if found.is_empty() {
            let why = format!("{}: holds no certificate in PEM", path.display());
            return Err(OpenError::Options { url: url.to_owned(), why });
        }
        for certificate in found {
            c = c.with_root_certificate(certificate);
        }
    }
    Ok(c)
}

/// `https://host` as `https://bucket.host`.
fn virtual_host(url: &str, endpoint: &str, bucket: &str) -> Result<String, OpenError> {
    let wrong = |e: &dyn std::fmt::Display| OpenError::Options {
        url: url.to_owned(),
        why: format!("the endpoint {endpoint:?} cannot have the bucket in its host name: {e}"),
    };
    let mut e = Url::parse(endpoint).map_err(|e| wrong(&e))?;
    let host = match e.host() {
        Some(url::Host::Domain(h)) => format!("{bucket}.{h}"),
        _ => return Err(wrong(&"it has no name; use path style")),
    };
    e.set_host(Some(&host)).map_err(|e| wrong(&e))?;
    Ok(e.to_string().trim_end_matches('/').to_owned())
}

fn remote(
    service: Service,
    url: String,
    bucket: &str,
    prefix: String,
    o: &Options,
) -> Result<Remote, OpenError> {
    let wrong = |why: String| OpenError::Options { url: url.clone(), why };
    if let Some(e) = &o.endpoint
        && !Url::parse(e).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host())
    {
        return Err(wrong(format!("the endpoint {e:?} is not http://HOST:PORT or https://HOST:PORT")));
    }
    if service != Service::S3 && (o.access_key.is_some() || o.region.is_some()) {
        return Err(wrong(
            "a region and an access key are S3's; credentials come from the environment".into(),
        ));
    }
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(3),
            base: 3.0,
        },
        max_retries: o.retries,
        retry_timeout: o.request_timeout,
    };
    // A creation is never repeated behind our back: the second would find the first and say that somebody was faster.
    // Nor does it use a connection that has been idle, which may be gone.
    let never = RetryConfig { max_retries: 0, ..retry.clone() };
    let failed = |e: object_store::Error| OpenError::Options { url: url.clone(), why: e.to_string() };
    let plain = |e: &Option<String>| e.as_deref().is_some_and(|e| e.starts_with("http://"));
    // The services' builders have no trait in common.
    macro_rules! built {
        ($builder:ident, $endpoint:expr) => {{
            let c = client(&url, o, plain($endpoint))?;
            let alone = c.clone().with_pool_max_idle_per_host(0);
            let once = $builder.clone().with_client_options(alone).with_retry(never).build();
            let store = Arc::new($builder.with_client_options(c).with_retry(retry).build().map_err(failed)?);
            let once = Arc::new(once.map_err(failed)?);
            Remote::new(service, url.clone(), prefix, store.clone(), store, once, o)
        }};
    }
    match service {
        Service::S3 => {
            let mut b = AmazonS3Builder::from_env().with_bucket_name(bucket);
            if let Some((id, secret)) = &o.access_key {
                // A token of the environment belongs to the environment's key.
                b = AmazonS3Builder::new()
                    .with_bucket_name(bucket)
                    .with_access_key_id(id)
                    .with_secret_access_key(secret);
            }
            if let Some(r) = &o.region {
                b = b.with_region(r);
            }
            let endpoint = o.endpoint.clone().or_else(|| {
                b.get_config_value(&AmazonS3ConfigKey::S3Endpoint)
                    .or_else(|| b.get_config_value(&AmazonS3ConfigKey::Endpoint))
            });
            b = b.with_virtual_hosted_style_request(!o.path_style);
            if let Some(e) = &endpoint {
                let e = if o.path_style { e.clone() } else { virtual_host(&url, e, bucket)? };
                b = b.with_config(AmazonS3ConfigKey::S3Endpoint, &e).with_endpoint(e);
            }
            if !o.conditional_writes {
                b = b.with_conditional_put(S3ConditionalPut::Disabled);
            }
            built!(b, &endpoint)
        }
        Service::Google => {
            let mut b = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
            if let Some(e) = &o.endpoint {
                b = b.with_base_url(e);
            }
            built!(b, &o.endpoint)
        }
        Service::Azure => {
            let mut b = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
            if let Some(e) = &o.endpoint {
                b = b.with_endpoint(e.clone());
            }
            built!(b, &o.endpoint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, kind) in [
            ("s3://bucket/a/b/", "s3 bucket a/b/"),
            ("s3://bucket", "s3 bucket "),
            ("gs://bucket/x", "gs bucket x/"),
            ("az://container/x", "az container x/"),
            ("azure://container", "az container "),
            ("s3://b/caf%C3%A9", "s3 b café/"),
            ("file:///mnt/a%20b", "/mnt/a b"),
            ("/mnt/a", "/mnt/a"),
            ("./a", "./a"),
        ] {
            let found = match target(url) {
                Ok(Target::Folder(p)) => p.display().to_string(),
                Ok(Target::Bucket { service, bucket, prefix }) => {
                    let s = match service {
                        Service::S3 => "s3",
                        Service::Google => "gs",
                        Service::Azure => "az",
                    };
                    format!("{s} {bucket} {prefix}")
                }
                Err(e) => panic!("{url}: {e}"),
            };
            assert_eq!(found, kind, "{url}");
        }
        for url in [
            "",
            "bucket",
            "s3://",
            "s3:///x",
            "ftp://x/y",
            "s3://b?x=1",
            "s3://zone--use1-az4--x-s3",
            "file://host/x",
            "s3://b//c",
        ] {
            assert!(target(url).is_err(), "{url}");
        }
        let e = target("s3://AKIA:hidden@bucket/x").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(e.contains("environment") && !e.contains("hidden"), "{e}");
    }

    #[test]
    fn options_that_are_wrong() {
        let with = |url: &str, f: &dyn Fn(&mut Options)| {
            let mut o = Options { access_key: Some(("AK".into(), "hidden".into())), ..Options::default() };
            f(&mut o);
            assert!(!format!("{o:?}").contains("hidden"));
            open(url, &o).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(with("s3://b/x", &|_| ()), "");
        assert!(with("s3://b", &|o| o.endpoint = Some("localhost:9000".into())).contains("endpoint"));
        assert!(with("gs://b", &|_| ()).contains("S3's"));
        let e = with("s3://b", &|o| o.ca_file = Some("/nowhere/ca.pem".into()));
        assert!(e.contains("/nowhere/ca.pem"), "{e}");
        let e =
            with("s3://b", &|o| (o.endpoint, o.path_style) = (Some("http://127.0.0.1:9000".into()), false));
        assert!(e.contains("path style"), "{e}");
        assert_eq!(
            virtual_host("s3://b", "https://s3.example.org:9000/", "b").ok().as_deref(),
            Some("https://b.s3.example.org:9000")
        );
    }
}
