//! Encryption and signatures by WebCrypto.

use super::exchange::{Exchange, World};
use super::tasks::outcome;
use crate::ports::Vault;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    // The same JavaScript object as `Exchange`: its methods for this port.
    #[wasm_bindgen(method)]
    fn gcm(
        this: &Exchange,
        seal: bool,
        key: js_sys::Uint8Array,
        nonce: js_sys::Uint8Array,
        bound_to: &str,
        bytes: js_sys::Uint8Array,
    ) -> js_sys::Promise;
    #[wasm_bindgen(method)]
    fn rs256(this: &Exchange, pkcs8: js_sys::Uint8Array, message: js_sys::Uint8Array) -> js_sys::Promise;
}

/// The bytes that a promise resolves to; `None` for null.
async fn bytes(promise: js_sys::Promise) -> Option<Vec<u8>> {
    outcome(&promise).await.dyn_into::<js_sys::Uint8Array>().ok().map(|bytes| bytes.to_vec())
}

impl Vault for World {
    async fn seal(&self, key: &[u8; 32], nonce: &[u8; 12], bound_to: &str, plain: &[u8]) -> Option<Vec<u8>> {
        bytes(self.exchange().gcm(true, key.as_slice().into(), nonce.as_slice().into(), bound_to, plain.into())).await
    }

    async fn open(&self, key: &[u8; 32], nonce: &[u8; 12], bound_to: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        bytes(self.exchange().gcm(false, key.as_slice().into(), nonce.as_slice().into(), bound_to, sealed.into())).await
    }

    async fn sign_rs256(&self, pkcs8: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        bytes(self.exchange().rs256(pkcs8.into(), message.into())).await
    }
}
