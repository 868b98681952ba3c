import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A certificate, or its key, as a file and as what is in it. */
interface Pem {
  path: string;
  text: string;
}

/** Certificates of an authority of a test's own, and one of an authority that nobody trusts. */
export interface Certificates {
  ca: Pem;
  strangeCa: Pem;
  /** For 127.0.0.1 and no name. */
  server: { cert: Pem; key: Pem };
  client: { cert: Pem; key: Pem };
  remove(): void;
}

/** Made anew with the openssl command: none is ever out of date, and no key lies in the repository. */
export function makeCertificates(): Certificates {
  const dir = mkdtempSync(join(tmpdir(), 'lessor-certificates-'));
  const at = (name: string): string => join(dir, name);
  const pem = (name: string): Pem => ({ path: at(name), text: readFileSync(at(name), 'utf8') });
  const openssl = (...args: string[]): unknown => execFileSync('openssl', args, { stdio: 'pipe' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

  function authority(name: string): Pem {
    const files = ['-keyout', at(`${name}.key`), '-out', at(`${name}.pem`)];
    openssl('req', '-x509', ...newKey, ...files, '-days', '2', '-subj', `/CN=${name}`);
    return pem(`${name}.pem`);
  }

  function signed(name: string, subject: string): { cert: Pem; key: Pem } {
    writeFileSync(at(`${name}.ext`), `subjectAltName=${subject}\n`);
    openssl('req', ...newKey, '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`), '-subj', `/CN=${name}`);
    const by = ['-CA', at('authority.pem'), '-CAkey', at('authority.key'), '-CAcreateserial'];
    const files = ['-in', at(`${name}.csr`), '-out', at(`${name}.pem`), '-extfile', at(`${name}.ext`)];
    openssl('x509', '-req', ...by, ...files, '-days', '2');
    return { cert: pem(`${name}.pem`), key: pem(`${name}.key`) };
  }

  return {
    ca: authority('authority'),
    strangeCa: authority('stranger'),
    server: signed('server', 'IP:127.0.0.1'),
    client: signed('client', 'DNS:client'),
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}
