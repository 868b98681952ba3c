import type { ConnectionOptions } from 'node:tls';

/** Certificates and a key in PEM form; what is left out is not needed or is the system's own. */
export interface TlsMaterial {
  /** Of the authorities that are trusted, instead of those that Node.js trusts. */
  ca?: string;
  /** By which this client proves who it is, with its key. */
  cert?: string;
  key?: string;
}

/** Options of a TLS connection to Redis: the server's certificate is always verified, and must be for the host that is named. */
export function tlsOptions({ ca, cert, key }: TlsMaterial): ConnectionOptions {
  return {
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

/** What to do about a connection over TLS that could not be made. */
export function tlsHint(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (/^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|CERT_SIGNATURE_FAILURE)/.test(code)) {
    return 'its certificate is signed by nobody that is trusted here: set LESSOR_REDIS_CA_FILE to the certificate of the authority that signed it';
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return 'its certificate is for another host: use the name that it is for in LESSOR_STORE';
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    return 'its certificate is not valid now: renew it, or set the clock';
  }
  // A server that speaks no TLS waits for more or hangs up, and one that wants a certificate may hang up without a word.
  return 'is it running, is the URL right, does it speak TLS at that port, and does it want a certificate (LESSOR_REDIS_CERT_FILE)?';
}
