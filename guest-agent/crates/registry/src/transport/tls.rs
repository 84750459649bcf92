//! Whom TLS trusts.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

/// Largest file of certificates.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// Most files of certificates of one registry.
const MAX_FILES: usize = 64;

/// Settings of TLS, made when first needed.
#[derive(Debug)]
pub(super) struct Trust {
    trusted: PathBuf,
    folders: PathBuf,
    provider: Arc<CryptoProvider>,
    usual: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    pub(super) fn new(trusted: PathBuf, folders: PathBuf) -> Self {
        Self {
            trusted,
            folders,
            provider: Arc::new(ring::default_provider()),
            usual: OnceLock::new(),
        }
    }

    /// For one registry. Reads files: the caller is where that is fine.
    pub(super) fn config(
        &self,
        authority: &str,
        insecure: bool,
    ) -> Result<Arc<ClientConfig>, Error> {
        if insecure {
            let verifier = Arc::new(Anybody(Arc::clone(&self.provider)));
            return Ok(Arc::new(finish(
                self.builder()?
                    .dangerous()
                    .with_custom_certificate_verifier(verifier)
                    .with_no_client_auth(),
            )));
        }
        // An authority has no slash, and `..` is none: the folder is one of ours.
        let extra = certificates_in(&self.folders.join(authority));
        if !extra.is_empty() {
            return self.trusting(extra).map(Arc::new);
        }
        if let Some(usual) = self.usual.get() {
            return Ok(Arc::clone(usual));
        }
        let usual = Arc::new(self.trusting(Vec::new())?);
        Ok(Arc::clone(self.usual.get_or_init(|| usual)))
    }

    fn trusting(&self, extra: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&self.trusted));
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        roots.add_parsable_certificates(extra);
        Ok(finish(
            self.builder()?
                .with_root_certificates(roots)
                .with_no_client_auth(),
        ))
    }

    fn builder(
        &self,
    ) -> Result<
        tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::WantsVerifier>,
        Error,
    > {
        ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
    }
}

fn finish(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let small = std::fs::metadata(path).is_ok_and(|file| file.len() <= MAX_FILE_BYTES);
    match std::fs::read(path) {
        Ok(bytes) if small => CertificateDer::pem_slice_iter(&bytes)
            .filter_map(Result::ok)
            .collect(),
        _ => Vec::new(),
    }
}

fn certificates_in(folder: &Path) -> Vec<CertificateDer<'static>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "crt"))
        .take(MAX_FILES)
        .flat_map(|path| certificates(&path))
        .collect()
}

/// For registries the user called insecure: any certificate will do, as for dockerd.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
