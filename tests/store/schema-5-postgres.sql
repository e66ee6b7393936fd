SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE FUNCTION public.audit_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'audit is append-only';
END $$;
CREATE FUNCTION public.count_state(kind text, endpoint text, state text, change integer) RETURNS void
    LANGUAGE sql
    AS $_$
    INSERT INTO counter_part AS part VALUES ($1, $2, $3, pg_backend_pid(), $4)
    ON CONFLICT (kind, endpoint, state, process) DO UPDATE SET n = part.n + excluded.n
$_$;
CREATE FUNCTION public.delivery_count() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN PERFORM count_state('delivery', OLD.endpoint, OLD.state, -1); END IF;
    IF TG_OP <> 'DELETE' THEN PERFORM count_state('delivery', NEW.endpoint, NEW.state, 1); END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.fax_count() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN PERFORM count_state('fax', '', OLD.state, -1); END IF;
    IF TG_OP <> 'DELETE' THEN PERFORM count_state('fax', '', NEW.state, 1); END IF;
    RETURN NULL;
END $$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.audit (
    id text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    what text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL COLLATE pg_catalog."C",
    number text COLLATE pg_catalog."C",
    record json NOT NULL
);
CREATE TABLE public.body (
    name text NOT NULL COLLATE pg_catalog."C",
    size bigint NOT NULL,
    stored_at bigint NOT NULL
);
CREATE TABLE public.body_piece (
    name text NOT NULL COLLATE pg_catalog."C",
    n integer NOT NULL,
    bytes bytea NOT NULL
);
ALTER TABLE ONLY public.body_piece ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE TABLE public.console_session (
    hash text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    "user" text NOT NULL COLLATE pg_catalog."C",
    password text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    client text NOT NULL COLLATE pg_catalog."C",
    agent text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.counter_part (
    kind text NOT NULL COLLATE pg_catalog."C",
    endpoint text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    process integer NOT NULL,
    n bigint NOT NULL
)
WITH (fillfactor='50');
CREATE VIEW public.counter AS
 SELECT kind,
    endpoint,
    state,
    (sum(n))::bigint AS n
   FROM public.counter_part
  GROUP BY kind, endpoint, state;
CREATE TABLE public.cursor (
    mailbox text NOT NULL COLLATE pg_catalog."C",
    folder text NOT NULL COLLATE pg_catalog."C",
    uidvalidity bigint NOT NULL,
    last_uid bigint NOT NULL
);
CREATE TABLE public.delivery (
    id text NOT NULL COLLATE pg_catalog."C",
    event_id text NOT NULL COLLATE pg_catalog."C",
    endpoint text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    due_at bigint NOT NULL,
    attempts integer NOT NULL,
    status integer,
    error text COLLATE pg_catalog."C",
    settled_at bigint,
    address text COLLATE pg_catalog."C",
    envelope_id text COLLATE pg_catalog."C",
    notice json,
    node text COLLATE pg_catalog."C"
);
CREATE TABLE public.delivery_try (
    id text NOT NULL COLLATE pg_catalog."C",
    delivery_id text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    milliseconds integer NOT NULL,
    status integer,
    error text COLLATE pg_catalog."C",
    answer text COLLATE pg_catalog."C"
);
CREATE TABLE public.draft (
    key text NOT NULL COLLATE pg_catalog."C",
    "user" text NOT NULL COLLATE pg_catalog."C",
    made_at bigint NOT NULL,
    fax_id text COLLATE pg_catalog."C",
    record json NOT NULL
);
CREATE TABLE public.envelope (
    id text NOT NULL COLLATE pg_catalog."C",
    key text COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    received_at bigint NOT NULL,
    record json NOT NULL,
    "user" text COLLATE pg_catalog."C"
);
CREATE TABLE public.event (
    id text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    fax_id text COLLATE pg_catalog."C",
    seq integer NOT NULL,
    data json NOT NULL,
    document text COLLATE pg_catalog."C"
);
CREATE TABLE public.fax (
    id text NOT NULL COLLATE pg_catalog."C",
    envelope_id text COLLATE pg_catalog."C",
    account text NOT NULL COLLATE pg_catalog."C",
    number text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    token text NOT NULL COLLATE pg_catalog."C",
    seq integer NOT NULL,
    created_at bigint NOT NULL,
    due_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    final_at bigint,
    fax_code text COLLATE pg_catalog."C",
    pages integer,
    polls integer NOT NULL,
    price text COLLATE pg_catalog."C",
    credit_left text COLLATE pg_catalog."C",
    source text COLLATE pg_catalog."C",
    documents json NOT NULL,
    attempts json NOT NULL,
    failure json,
    email json NOT NULL,
    report json,
    tags json NOT NULL,
    documents_deleted_at bigint,
    "user" text COLLATE pg_catalog."C",
    same_key text COLLATE pg_catalog."C",
    repeat_of text COLLATE pg_catalog."C",
    client text COLLATE pg_catalog."C",
    restored_at bigint,
    currency text COLLATE pg_catalog."C",
    node text COLLATE pg_catalog."C"
);
CREATE TABLE public.former_token (
    token text NOT NULL COLLATE pg_catalog."C",
    fax_id text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.lease (
    name text NOT NULL COLLATE pg_catalog."C",
    node text NOT NULL COLLATE pg_catalog."C",
    taken_at bigint NOT NULL
);
CREATE TABLE public.listing_progress (
    account text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    started_at bigint NOT NULL,
    compared_at bigint
);
CREATE TABLE public.meta (
    key text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.node (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    version text NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    facts jsonb NOT NULL
);
CREATE TABLE public.oauth_token (
    mailbox text NOT NULL COLLATE pg_catalog."C",
    configured text NOT NULL COLLATE pg_catalog."C",
    refresh_token text COLLATE pg_catalog."C",
    access_token text COLLATE pg_catalog."C",
    renew_at bigint,
    asked_by text COLLATE pg_catalog."C",
    asked_until bigint
);
CREATE TABLE public.pending_deletion (
    path text NOT NULL COLLATE pg_catalog."C",
    files json NOT NULL,
    lines json NOT NULL
);
CREATE TABLE public.poll_request (
    fax_id text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL
);
CREATE TABLE public.processed_mail (
    mailbox text NOT NULL COLLATE pg_catalog."C",
    digest text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL
);
CREATE TABLE public.received_item (
    id text NOT NULL COLLATE pg_catalog."C",
    account text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    caller text COLLATE pg_catalog."C",
    called text COLLATE pg_catalog."C",
    at bigint NOT NULL,
    noted_at bigint NOT NULL,
    listing_id text COLLATE pg_catalog."C",
    url text COLLATE pg_catalog."C",
    mailed boolean NOT NULL,
    trusted boolean NOT NULL,
    sha256 text COLLATE pg_catalog."C",
    event_id text COLLATE pg_catalog."C",
    due_at bigint,
    tries integer NOT NULL
);
CREATE TABLE public.received_note (
    fax_id text NOT NULL COLLATE pg_catalog."C",
    changed_by text NOT NULL COLLATE pg_catalog."C",
    changed_at bigint NOT NULL,
    note text NOT NULL COLLATE pg_catalog."C",
    handled_by text COLLATE pg_catalog."C"
);
CREATE TABLE public.secret (
    name text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.stopped_webhook (
    endpoint text NOT NULL COLLATE pg_catalog."C",
    stopped_at bigint NOT NULL,
    reason text NOT NULL COLLATE pg_catalog."C"
);
INSERT INTO public.audit (id, at, what, subject, number, record) VALUES ('aud_01KE3Y00000000000000000001', 1767517200123456, 'event.deleted', 'fax_01KE3YEARLIER', '+97239876543', '{"type":"fax.received","documents":[]}');
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('delivery', 'crm', 'dead', 4296, 2);
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('delivery', 'crm', 'sending', 4296, 1);
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('delivery', 'crm', 'pending', 4296, 10);
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('delivery', 'crm', 'delivered', 4296, 5);
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('delivery', 'erp', 'pending', 4296, 18);
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('fax', '', 'uploading', 4296, 1);
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('fax', '', 'submitted', 4296, 1);
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('fax', '', 'in_doubt', 4296, 1);
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('fax', '', 'delivered', 4296, 1);
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('fax', '', 'queued', 4296, 2);
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('fax', '', 'failed', 4296, 1);
INSERT INTO public.counter_part (kind, endpoint, state, process, n) VALUES ('fax', '', 'cancelled', 4296, 1);
INSERT INTO public.cursor (mailbox, folder, uidvalidity, last_uid) VALUES ('office', 'INBOX', 7, 42);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000004', 'evt_01KE3Y00000000000000000003', 'crm', 'delivered', 1767517200123456, 1, 200, NULL, 1767520800123456, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000005', 'evt_01KE3Y00000000000000000003', 'erp', 'pending', 1767517200123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000009', 'evt_01KE3Y00000000000000000008', 'crm', 'delivered', 1767517260123456, 1, 200, NULL, 1767520800123456, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000010', 'evt_01KE3Y00000000000000000008', 'erp', 'pending', 1767517260123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000014', 'evt_01KE3Y00000000000000000013', 'crm', 'dead', 1767517320123456, 1, 410, 'gone', 1767520800123456, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000015', 'evt_01KE3Y00000000000000000013', 'erp', 'pending', 1767517320123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000017', 'evt_01KE3Y00000000000000000016', 'crm', 'dead', 1767517334123456, 1, 410, 'gone', 1767520800123456, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000018', 'evt_01KE3Y00000000000000000016', 'erp', 'pending', 1767517334123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000022', 'evt_01KE3Y00000000000000000021', 'crm', 'pending', 1767521100123456, 1, 503, 'busy', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000023', 'evt_01KE3Y00000000000000000021', 'erp', 'pending', 1767517380123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000025', 'evt_01KE3Y00000000000000000024', 'crm', 'sending', 1767517394123456, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000026', 'evt_01KE3Y00000000000000000024', 'erp', 'pending', 1767517394123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000031', 'evt_01KE3Y00000000000000000030', 'crm', 'pending', 1767517440123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000032', 'evt_01KE3Y00000000000000000030', 'erp', 'pending', 1767517440123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000034', 'evt_01KE3Y00000000000000000033', 'crm', 'pending', 1767517440123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000035', 'evt_01KE3Y00000000000000000033', 'erp', 'pending', 1767517440123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000037', 'evt_01KE3Y00000000000000000036', 'crm', 'pending', 1767517454123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000038', 'evt_01KE3Y00000000000000000036', 'erp', 'pending', 1767517454123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000040', 'evt_01KE3Y00000000000000000039', 'crm', 'pending', 1767517461123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000041', 'evt_01KE3Y00000000000000000039', 'erp', 'pending', 1767517461123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000045', 'evt_01KE3Y00000000000000000044', 'crm', 'pending', 1767517500123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000046', 'evt_01KE3Y00000000000000000044', 'erp', 'pending', 1767517500123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000048', 'evt_01KE3Y00000000000000000047', 'crm', 'pending', 1767517514123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000049', 'evt_01KE3Y00000000000000000047', 'erp', 'pending', 1767517514123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000051', 'evt_01KE3Y00000000000000000050', 'crm', 'pending', 1767517521123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000052', 'evt_01KE3Y00000000000000000050', 'erp', 'pending', 1767517521123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000056', 'evt_01KE3Y00000000000000000055', 'crm', 'pending', 1767517560123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000057', 'evt_01KE3Y00000000000000000055', 'erp', 'pending', 1767517560123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000059', 'evt_01KE3Y00000000000000000058', 'crm', 'pending', 1767517567123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000060', 'evt_01KE3Y00000000000000000058', 'erp', 'pending', 1767517567123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000062', 'evt_01KE3Y00000000000000000061', 'crm', 'delivered', 1767517200123456, 1, 200, NULL, 1767520800123456, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000063', 'evt_01KE3Y00000000000000000061', 'erp', 'pending', 1767517200123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000065', 'evt_01KE3Y00000000000000000064', 'crm', 'delivered', 1767517200123456, 1, 200, NULL, 1767520800123456, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000066', 'evt_01KE3Y00000000000000000064', 'erp', 'pending', 1767517200123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000068', 'evt_01KE3Y00000000000000000067', 'crm', 'delivered', 1767517200123456, 1, 200, NULL, 1767520800123456, NULL, NULL, NULL, NULL);
INSERT INTO public.delivery (id, event_id, endpoint, state, due_at, attempts, status, error, settled_at, address, envelope_id, notice, node) VALUES ('dlv_01KE3Y00000000000000000069', 'evt_01KE3Y00000000000000000067', 'erp', 'pending', 1767517200123456, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.envelope (id, key, path, received_at, record, "user") VALUES ('env_01KE3Y00000000000000000001', NULL, 'mail/00/env_01KE3Y00000000000000000001.eml', 1767517200123456, '{"id":"env_01KE3Y00000000000000000001","sender":"dana@example.co.il","recipients":[{"number":"+97239876540","address":"+97239876540@fax.local","notify":null,"orcpt":null}],"path":"mail/00/env_01KE3Y00000000000000000001.eml","size":1000,"received_at":"2026-01-04T09:00:00.123456+00:00","message_id":"<0@example.co.il>","subject":"חשבונית","account":"office","user":null,"envid":null,"ret":null}', NULL);
INSERT INTO public.envelope (id, key, path, received_at, record, "user") VALUES ('env_01KE3Y00000000000000000006', 'key1', 'mail/01/env_01KE3Y00000000000000000006.eml', 1767517260123456, '{"id":"env_01KE3Y00000000000000000006","sender":"dana@example.co.il","recipients":[{"number":"+97239876541","address":"+97239876541@fax.local","notify":null,"orcpt":null}],"path":"mail/01/env_01KE3Y00000000000000000006.eml","size":1001,"received_at":"2026-01-04T09:01:00.123456+00:00","message_id":"<1@example.co.il>","subject":"חשבונית","account":"office","user":"erp","envid":null,"ret":null}', 'erp');
INSERT INTO public.envelope (id, key, path, received_at, record, "user") VALUES ('env_01KE3Y00000000000000000011', 'key2', 'mail/02/env_01KE3Y00000000000000000011.eml', 1767517320123456, '{"id":"env_01KE3Y00000000000000000011","sender":"dana@example.co.il","recipients":[{"number":"+97239876542","address":"+97239876542@fax.local","notify":null,"orcpt":null}],"path":"mail/02/env_01KE3Y00000000000000000011.eml","size":1002,"received_at":"2026-01-04T09:02:00.123456+00:00","message_id":"<2@example.co.il>","subject":"חשבונית","account":"office","user":null,"envid":null,"ret":null}', NULL);
INSERT INTO public.envelope (id, key, path, received_at, record, "user") VALUES ('env_01KE3Y00000000000000000019', 'key3', 'mail/03/env_01KE3Y00000000000000000019.eml', 1767517380123456, '{"id":"env_01KE3Y00000000000000000019","sender":"dana@example.co.il","recipients":[{"number":"+97239876543","address":"+97239876543@fax.local","notify":null,"orcpt":null}],"path":"mail/03/env_01KE3Y00000000000000000019.eml","size":1003,"received_at":"2026-01-04T09:03:00.123456+00:00","message_id":"<3@example.co.il>","subject":"חשבונית","account":"office","user":"erp","envid":null,"ret":null}', 'erp');
INSERT INTO public.envelope (id, key, path, received_at, record, "user") VALUES ('env_01KE3Y00000000000000000027', 'key4', 'mail/04/env_01KE3Y00000000000000000027.eml', 1767517440123456, '{"id":"env_01KE3Y00000000000000000027","sender":"dana@example.co.il","recipients":[{"number":"+97239876544","address":"+97239876544@fax.local","notify":null,"orcpt":null},{"number":"+97231111111","address":"+97231111111@fax.local","notify":null,"orcpt":null}],"path":"mail/04/env_01KE3Y00000000000000000027.eml","size":1004,"received_at":"2026-01-04T09:04:00.123456+00:00","message_id":"<4@example.co.il>","subject":"חשבונית","account":"office","user":null,"envid":null,"ret":null}', NULL);
INSERT INTO public.envelope (id, key, path, received_at, record, "user") VALUES ('env_01KE3Y00000000000000000042', 'key5', 'mail/05/env_01KE3Y00000000000000000042.eml', 1767517500123456, '{"id":"env_01KE3Y00000000000000000042","sender":"dana@example.co.il","recipients":[{"number":"+97239876545","address":"+97239876545@fax.local","notify":null,"orcpt":null}],"path":"mail/05/env_01KE3Y00000000000000000042.eml","size":1005,"received_at":"2026-01-04T09:05:00.123456+00:00","message_id":"<5@example.co.il>","subject":"חשבונית","account":"office","user":"erp","envid":null,"ret":null}', 'erp');
INSERT INTO public.envelope (id, key, path, received_at, record, "user") VALUES ('env_01KE3Y00000000000000000053', 'key6', 'mail/06/env_01KE3Y00000000000000000053.eml', 1767517560123456, '{"id":"env_01KE3Y00000000000000000053","sender":"dana@example.co.il","recipients":[{"number":"+97239876546","address":"+97239876546@fax.local","notify":null,"orcpt":null}],"path":"mail/06/env_01KE3Y00000000000000000053.eml","size":1006,"received_at":"2026-01-04T09:06:00.123456+00:00","message_id":"<6@example.co.il>","subject":"חשבונית","account":"office","user":null,"envid":null,"ret":null}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000003', 'fax.queued', 1767517200123456, 'fax_01KE3Y00000000000000000002', 1, '{"fax_id":"fax_01KE3Y00000000000000000002","seq":1,"status":"queued","to":"+97239876540"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000008', 'fax.queued', 1767517260123456, 'fax_01KE3Y00000000000000000007', 1, '{"fax_id":"fax_01KE3Y00000000000000000007","seq":1,"status":"queued","to":"+97239876541"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000013', 'fax.queued', 1767517320123456, 'fax_01KE3Y00000000000000000012', 1, '{"fax_id":"fax_01KE3Y00000000000000000012","seq":1,"status":"queued","to":"+97239876542"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000016', 'fax.submitted', 1767517334123456, 'fax_01KE3Y00000000000000000012', 2, '{"fax_id":"fax_01KE3Y00000000000000000012","seq":2,"status":"submitted","to":"+97239876542"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000021', 'fax.queued', 1767517380123456, 'fax_01KE3Y00000000000000000020', 1, '{"fax_id":"fax_01KE3Y00000000000000000020","seq":1,"status":"queued","to":"+97239876543"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000024', 'fax.in_doubt', 1767517394123456, 'fax_01KE3Y00000000000000000020', 2, '{"fax_id":"fax_01KE3Y00000000000000000020","seq":2,"status":"in_doubt","to":"+97239876543"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000030', 'fax.queued', 1767517440123456, 'fax_01KE3Y00000000000000000028', 1, '{"fax_id":"fax_01KE3Y00000000000000000028","seq":1,"status":"queued","to":"+97239876544"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000033', 'fax.queued', 1767517440123456, 'fax_01KE3Y00000000000000000029', 1, '{"fax_id":"fax_01KE3Y00000000000000000029","seq":1,"status":"queued","to":"+97231111111"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000036', 'fax.submitted', 1767517454123456, 'fax_01KE3Y00000000000000000028', 2, '{"fax_id":"fax_01KE3Y00000000000000000028","seq":2,"status":"submitted","to":"+97239876544"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000039', 'fax.delivered', 1767517461123456, 'fax_01KE3Y00000000000000000028', 3, '{"fax_id":"fax_01KE3Y00000000000000000028","seq":3,"status":"delivered","to":"+97239876544"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000044', 'fax.queued', 1767517500123456, 'fax_01KE3Y00000000000000000043', 1, '{"fax_id":"fax_01KE3Y00000000000000000043","seq":1,"status":"queued","to":"+97239876545"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000047', 'fax.submitted', 1767517514123456, 'fax_01KE3Y00000000000000000043', 2, '{"fax_id":"fax_01KE3Y00000000000000000043","seq":2,"status":"submitted","to":"+97239876545"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000050', 'fax.failed', 1767517521123456, 'fax_01KE3Y00000000000000000043', 3, '{"fax_id":"fax_01KE3Y00000000000000000043","seq":3,"status":"failed","to":"+97239876545"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000055', 'fax.queued', 1767517560123456, 'fax_01KE3Y00000000000000000054', 1, '{"fax_id":"fax_01KE3Y00000000000000000054","seq":1,"status":"queued","to":"+97239876546"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000058', 'fax.cancelled', 1767517567123456, 'fax_01KE3Y00000000000000000054', 2, '{"fax_id":"fax_01KE3Y00000000000000000054","seq":2,"status":"cancelled","to":"+97239876546"}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000061', 'fax.received', 1767517200123456, 'fax_01KE3YRECEIVED', 1, '{"fax_id":"fax_01KE3YRECEIVED","seq":1,"from":"+97288888888","to":"+97239999999","document":{"path":"received/07/fax_01KE3YRECEIVED","sha256":"abababababababababababababababababababababababababababababababab","size":1234,"content_type":"application/pdf","filename":"in.pdf","pages":null}}', 'received/07/fax_01KE3YRECEIVED');
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000064', 'fax.received', 1767517200123456, 'fax_01KE3YBARE', 1, '{"fax_id":"fax_01KE3YBARE","seq":1,"from":null,"document":null}', NULL);
INSERT INTO public.event (id, type, at, fax_id, seq, data, document) VALUES ('evt_01KE3Y00000000000000000067', 'mailbox.down', 1767517200123456, NULL, 0, '{"mailbox":"office","error":"x"}', NULL);
INSERT INTO public.fax (id, envelope_id, account, number, state, token, seq, created_at, due_at, expires_at, final_at, fax_code, pages, polls, price, credit_left, source, documents, attempts, failure, email, report, tags, documents_deleted_at, "user", same_key, repeat_of, client, restored_at, currency, node) VALUES ('fax_01KE3Y00000000000000000002', 'env_01KE3Y00000000000000000001', 'office', '+97239876540', 'queued', 'MB-00000000', 1, 1767517200123456, 1767517200123456, 1767603600123456, NULL, NULL, 2, 0, NULL, NULL, NULL, '[{"name":"חשבונית.pdf","content_type":"application/pdf","size":700,"sha256":"0000000000000000000000000000000000000000000000000000000000000000","path":"mail/00/env_01KE3Y00000000000000000001.eml","offset":300,"length":960,"encoding":"base64","pages":2}]', '[]', 'null', '{"message_id":"<0@example.co.il>","envelope_id":null,"sender":"dana@example.co.il","subject":"חשבונית"}', 'null', '{"case":"0"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.fax (id, envelope_id, account, number, state, token, seq, created_at, due_at, expires_at, final_at, fax_code, pages, polls, price, credit_left, source, documents, attempts, failure, email, report, tags, documents_deleted_at, "user", same_key, repeat_of, client, restored_at, currency, node) VALUES ('fax_01KE3Y00000000000000000007', 'env_01KE3Y00000000000000000006', 'office', '+97239876541', 'uploading', 'MB-00000010', 1, 1767517260123456, 1767517260123456, 1767603660123456, NULL, NULL, 2, 0, NULL, NULL, NULL, '[{"name":"חשבונית.pdf","content_type":"application/pdf","size":700,"sha256":"000000000000000000000000000000000000000000000000000000000000000a","path":"mail/01/env_01KE3Y00000000000000000006.eml","offset":300,"length":960,"encoding":"base64","pages":2}]', '[{"n":1,"started_at":"2026-01-04T09:01:07.123456+00:00","digests":["000000000000000000000000000000000000000000000000000000000000000a"],"whole_at":null,"ended_at":null,"fax_code":null,"error_code":null}]', 'null', '{"message_id":"<1@example.co.il>","envelope_id":null,"sender":"dana@example.co.il","subject":"חשבונית"}', 'null', '{"case":"10"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.fax (id, envelope_id, account, number, state, token, seq, created_at, due_at, expires_at, final_at, fax_code, pages, polls, price, credit_left, source, documents, attempts, failure, email, report, tags, documents_deleted_at, "user", same_key, repeat_of, client, restored_at, currency, node) VALUES ('fax_01KE3Y00000000000000000012', 'env_01KE3Y00000000000000000011', 'office', '+97239876542', 'submitted', 'MB-00000020', 2, 1767517320123456, 1767517320123456, 1767603720123456, NULL, '3cf6c2ae-0000-4000-8000-000000000002', 2, 0, NULL, NULL, NULL, '[{"name":"חשבונית.pdf","content_type":"application/pdf","size":700,"sha256":"0000000000000000000000000000000000000000000000000000000000000014","path":"mail/02/env_01KE3Y00000000000000000011.eml","offset":300,"length":960,"encoding":"base64","pages":2}]', '[{"n":1,"started_at":"2026-01-04T09:02:07.123456+00:00","digests":["0000000000000000000000000000000000000000000000000000000000000014"],"whole_at":null,"ended_at":null,"fax_code":null,"error_code":null}]', 'null', '{"message_id":"<2@example.co.il>","envelope_id":null,"sender":"dana@example.co.il","subject":"חשבונית"}', 'null', '{"case":"20"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.fax (id, envelope_id, account, number, state, token, seq, created_at, due_at, expires_at, final_at, fax_code, pages, polls, price, credit_left, source, documents, attempts, failure, email, report, tags, documents_deleted_at, "user", same_key, repeat_of, client, restored_at, currency, node) VALUES ('fax_01KE3Y00000000000000000020', 'env_01KE3Y00000000000000000019', 'office', '+97239876543', 'in_doubt', 'MB-00000030', 2, 1767517380123456, 1767517380123456, 1767603780123456, NULL, NULL, 2, 0, NULL, NULL, NULL, '[{"name":"חשבונית.pdf","content_type":"application/pdf","size":700,"sha256":"000000000000000000000000000000000000000000000000000000000000001e","path":"mail/03/env_01KE3Y00000000000000000019.eml","offset":300,"length":960,"encoding":"base64","pages":2}]', '[{"n":1,"started_at":"2026-01-04T09:03:07.123456+00:00","digests":["000000000000000000000000000000000000000000000000000000000000001e"],"whole_at":null,"ended_at":null,"fax_code":null,"error_code":null}]', 'null', '{"message_id":"<3@example.co.il>","envelope_id":null,"sender":"dana@example.co.il","subject":"חשבונית"}', 'null', '{"case":"30"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.fax (id, envelope_id, account, number, state, token, seq, created_at, due_at, expires_at, final_at, fax_code, pages, polls, price, credit_left, source, documents, attempts, failure, email, report, tags, documents_deleted_at, "user", same_key, repeat_of, client, restored_at, currency, node) VALUES ('fax_01KE3Y00000000000000000028', 'env_01KE3Y00000000000000000027', 'office', '+97239876544', 'delivered', 'MB-00000040', 3, 1767517440123456, 1767517440123456, 1767603840123456, 1767517461123456, '3cf6c2ae-0000-4000-8000-000000000004', 2, 3, '0.40', '118', 'poll', '[{"name":"חשבונית.pdf","content_type":"application/pdf","size":700,"sha256":"0000000000000000000000000000000000000000000000000000000000000028","path":"mail/04/env_01KE3Y00000000000000000027.eml","offset":300,"length":960,"encoding":"base64","pages":2}]', '[{"n":1,"started_at":"2026-01-04T09:04:07.123456+00:00","digests":["0000000000000000000000000000000000000000000000000000000000000028"],"whole_at":null,"ended_at":null,"fax_code":null,"error_code":null}]', 'null', '{"message_id":"<4@example.co.il>","envelope_id":null,"sender":"dana@example.co.il","subject":"חשבונית"}', '{"status":"Success","status_code":9}', '{"case":"40"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.fax (id, envelope_id, account, number, state, token, seq, created_at, due_at, expires_at, final_at, fax_code, pages, polls, price, credit_left, source, documents, attempts, failure, email, report, tags, documents_deleted_at, "user", same_key, repeat_of, client, restored_at, currency, node) VALUES ('fax_01KE3Y00000000000000000029', 'env_01KE3Y00000000000000000027', 'office', '+97231111111', 'queued', 'MB-00000041', 1, 1767517440123456, 1767517440123456, 1767603840123456, NULL, NULL, 2, 0, NULL, NULL, NULL, '[{"name":"חשבונית.pdf","content_type":"application/pdf","size":700,"sha256":"0000000000000000000000000000000000000000000000000000000000000029","path":"mail/04/env_01KE3Y00000000000000000027.eml","offset":300,"length":960,"encoding":"base64","pages":2}]', '[]', 'null', '{"message_id":"<4@example.co.il>","envelope_id":null,"sender":"dana@example.co.il","subject":"חשבונית"}', 'null', '{"case":"41"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.fax (id, envelope_id, account, number, state, token, seq, created_at, due_at, expires_at, final_at, fax_code, pages, polls, price, credit_left, source, documents, attempts, failure, email, report, tags, documents_deleted_at, "user", same_key, repeat_of, client, restored_at, currency, node) VALUES ('fax_01KE3Y00000000000000000043', 'env_01KE3Y00000000000000000042', 'office', '+97239876545', 'failed', 'MB-00000050', 3, 1767517500123456, 1767517500123456, 1767603900123456, 1767517521123456, '3cf6c2ae-0000-4000-8000-000000000005', 2, 0, NULL, NULL, 'report', '[{"name":"חשבונית.pdf","content_type":"application/pdf","size":700,"sha256":"0000000000000000000000000000000000000000000000000000000000000032","path":"mail/05/env_01KE3Y00000000000000000042.eml","offset":300,"length":960,"encoding":"base64","pages":2}]', '[{"n":1,"started_at":"2026-01-04T09:05:07.123456+00:00","digests":["0000000000000000000000000000000000000000000000000000000000000032"],"whole_at":null,"ended_at":null,"fax_code":null,"error_code":null}]', '{"code":"busy","message":"busy","provider_code":3}', '{"message_id":"<5@example.co.il>","envelope_id":null,"sender":"dana@example.co.il","subject":"חשבונית"}', 'null', '{"case":"50"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.fax (id, envelope_id, account, number, state, token, seq, created_at, due_at, expires_at, final_at, fax_code, pages, polls, price, credit_left, source, documents, attempts, failure, email, report, tags, documents_deleted_at, "user", same_key, repeat_of, client, restored_at, currency, node) VALUES ('fax_01KE3Y00000000000000000054', 'env_01KE3Y00000000000000000053', 'office', '+97239876546', 'cancelled', 'MB-00000060', 2, 1767517560123456, 1767517560123456, 1767603960123456, 1767517567123456, NULL, 2, 0, NULL, NULL, NULL, '[{"name":"חשבונית.pdf","content_type":"application/pdf","size":700,"sha256":"000000000000000000000000000000000000000000000000000000000000003c","path":"mail/06/env_01KE3Y00000000000000000053.eml","offset":300,"length":960,"encoding":"base64","pages":2}]', '[]', 'null', '{"message_id":"<6@example.co.il>","envelope_id":null,"sender":"dana@example.co.il","subject":"חשבונית"}', 'null', '{"case":"60"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.listing_progress (account, kind, started_at, compared_at) VALUES ('office', 'incoming', 1767517200123456, 1767520800123456);
INSERT INTO public.listing_progress (account, kind, started_at, compared_at) VALUES ('office', 'voice', 1767517200123456, NULL);
INSERT INTO public.meta (key, value) VALUES ('schema', '5');
INSERT INTO public.meta (key, value) VALUES ('made', '2026-11-27T06:52:47.435897+00:00');
INSERT INTO public.pending_deletion (path, files, lines) VALUES ('received/07/fax_01KE3YGONE', '["received/07/fax_01KE3YGONE"]', '[{"what":"document.deleted","subject":"fax_01KE3YGONE","number":"+97239876543","record":{"type":"fax.received","documents":[]}}]');
INSERT INTO public.processed_mail (mailbox, digest, at) VALUES ('office', 'digest0', 1767517200123456);
INSERT INTO public.processed_mail (mailbox, digest, at) VALUES ('office', 'digest1', 1767517200123456);
INSERT INTO public.processed_mail (mailbox, digest, at) VALUES ('office', 'digest2', 1767517200123456);
INSERT INTO public.received_item (id, account, kind, caller, called, at, noted_at, listing_id, url, mailed, trusted, sha256, event_id, due_at, tries) VALUES ('fax_01KE3YRECEIVED', 'office', 'incoming', '+97239876543', '+97289999999', 1767517200123456, 1767517260123456, NULL, NULL, true, true, 'abababababababababababababababababababababababababababababababab', 'evt_01KE3Y00000000000000000061', NULL, 0);
INSERT INTO public.received_item (id, account, kind, caller, called, at, noted_at, listing_id, url, mailed, trusted, sha256, event_id, due_at, tries) VALUES ('fax_01KE3YLISTED', 'office', 'incoming', NULL, '+97289999999', 1767520800123456, 1767520800123456, '8d1f0a8e', 'https://www.myfax.co.il/getfile?id=8d1f0a8e', false, true, NULL, NULL, 1767521100123456, 2);
INSERT INTO public.received_item (id, account, kind, caller, called, at, noted_at, listing_id, url, mailed, trusted, sha256, event_id, due_at, tries) VALUES ('fax_01KE3YVOICE', 'office', 'voice', '+97231234567', NULL, 1767517200123456, 1767517200123456, '77', NULL, false, false, NULL, NULL, NULL, 0);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.body_piece
    ADD CONSTRAINT body_piece_pkey PRIMARY KEY (name, n);
ALTER TABLE ONLY public.body
    ADD CONSTRAINT body_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.console_session
    ADD CONSTRAINT console_session_id_key UNIQUE (id);
ALTER TABLE ONLY public.console_session
    ADD CONSTRAINT console_session_pkey PRIMARY KEY (hash);
ALTER TABLE ONLY public.counter_part
    ADD CONSTRAINT counter_part_pkey PRIMARY KEY (kind, endpoint, state, process);
ALTER TABLE ONLY public.cursor
    ADD CONSTRAINT cursor_pkey PRIMARY KEY (mailbox, folder);
ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.delivery_try
    ADD CONSTRAINT delivery_try_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.draft
    ADD CONSTRAINT draft_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.envelope
    ADD CONSTRAINT envelope_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.fax
    ADD CONSTRAINT fax_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.fax
    ADD CONSTRAINT fax_token_key UNIQUE (token);
ALTER TABLE ONLY public.former_token
    ADD CONSTRAINT former_token_pkey PRIMARY KEY (token);
ALTER TABLE ONLY public.lease
    ADD CONSTRAINT lease_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.listing_progress
    ADD CONSTRAINT listing_progress_pkey PRIMARY KEY (account, kind);
ALTER TABLE ONLY public.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.node
    ADD CONSTRAINT node_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.oauth_token
    ADD CONSTRAINT oauth_token_pkey PRIMARY KEY (mailbox);
ALTER TABLE ONLY public.pending_deletion
    ADD CONSTRAINT pending_deletion_pkey PRIMARY KEY (path);
ALTER TABLE ONLY public.poll_request
    ADD CONSTRAINT poll_request_pkey PRIMARY KEY (fax_id);
ALTER TABLE ONLY public.processed_mail
    ADD CONSTRAINT processed_mail_pkey PRIMARY KEY (mailbox, digest);
ALTER TABLE ONLY public.received_item
    ADD CONSTRAINT received_item_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.received_note
    ADD CONSTRAINT received_note_pkey PRIMARY KEY (fax_id);
ALTER TABLE ONLY public.secret
    ADD CONSTRAINT secret_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.stopped_webhook
    ADD CONSTRAINT stopped_webhook_pkey PRIMARY KEY (endpoint);
CREATE INDEX delivery_address ON public.delivery USING btree (address, settled_at) WHERE (address IS NOT NULL);
CREATE INDEX delivery_due ON public.delivery USING btree (endpoint, state, due_at);
CREATE INDEX delivery_envelope ON public.delivery USING btree (envelope_id) WHERE (envelope_id IS NOT NULL);
CREATE INDEX delivery_listed ON public.delivery USING btree (endpoint, id);
CREATE INDEX delivery_undelivered ON public.delivery USING btree (endpoint, state, id) WHERE (state <> 'delivered'::text);
CREATE INDEX envelope_key ON public.envelope USING btree (key, received_at);
CREATE INDEX envelope_path ON public.envelope USING btree (path);
CREATE INDEX envelope_user ON public.envelope USING btree ("user", received_at);
CREATE INDEX event_at ON public.event USING btree (at);
CREATE INDEX event_document ON public.event USING btree (document) WHERE (document IS NOT NULL);
CREATE INDEX event_received ON public.event USING btree (id) WHERE (COALESCE(type, ''::text) = ANY (ARRAY['fax.received'::text, 'voicemail.received'::text]));
CREATE INDEX fax_calls ON public.fax USING btree (number, state) WHERE (state = ANY (ARRAY['uploading'::text, 'submitted'::text]));
CREATE INDEX fax_code ON public.fax USING btree (lower(fax_code));
CREATE INDEX fax_credit ON public.fax USING btree (account, final_at) WHERE (credit_left IS NOT NULL);
CREATE INDEX fax_delivered ON public.fax USING btree (id) WHERE (COALESCE(state, ''::text) = 'delivered'::text);
CREATE INDEX fax_documents ON public.fax USING btree (final_at) WHERE (documents_deleted_at IS NULL);
CREATE INDEX fax_due ON public.fax USING btree (state, account, due_at);
CREATE INDEX fax_expires ON public.fax USING btree (state, expires_at);
CREATE INDEX fax_final ON public.fax USING btree (final_at);
CREATE INDEX fax_next ON public.fax USING btree (state, due_at);
CREATE INDEX fax_not_delivered ON public.fax USING btree (id) WHERE (COALESCE(state, ''::text) = ANY (ARRAY['failed'::text, 'cancelled'::text]));
CREATE INDEX fax_number ON public.fax USING btree (number, final_at);
CREATE INDEX fax_open ON public.fax USING btree (id) WHERE (COALESCE(final_at, (0)::bigint) = 0);
CREATE INDEX fax_same ON public.fax USING btree (same_key, created_at);
CREATE INDEX fax_turn ON public.fax USING btree (account, COALESCE("user", client, '-'::text), due_at) WHERE (state = 'queued'::text);
CREATE INDEX fax_user ON public.fax USING btree ("user", id) WHERE ("user" IS NOT NULL);
CREATE INDEX ix_audit_number ON public.audit USING btree (number);
CREATE INDEX ix_audit_subject ON public.audit USING btree (subject);
CREATE INDEX ix_console_session_user ON public.console_session USING btree ("user");
CREATE INDEX ix_delivery_event_id ON public.delivery USING btree (event_id);
CREATE INDEX ix_delivery_try_delivery_id ON public.delivery_try USING btree (delivery_id);
CREATE INDEX ix_event_fax_id ON public.event USING btree (fax_id);
CREATE INDEX ix_fax_envelope_id ON public.fax USING btree (envelope_id);
CREATE INDEX ix_former_token_fax_id ON public.former_token USING btree (fax_id);
CREATE INDEX processed_mail_at ON public.processed_mail USING btree (at);
CREATE INDEX received_item_at ON public.received_item USING btree (account, kind, at);
CREATE INDEX received_item_called ON public.received_item USING btree (account, called);
CREATE INDEX received_item_due ON public.received_item USING btree (account, kind, due_at) WHERE (due_at IS NOT NULL);
CREATE UNIQUE INDEX received_item_listing ON public.received_item USING btree (account, kind, listing_id);
CREATE INDEX received_item_noted ON public.received_item USING btree (noted_at);
CREATE TRIGGER audit_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit FOR EACH STATEMENT EXECUTE FUNCTION public.audit_append_only();
CREATE TRIGGER delivery_count_rows AFTER INSERT OR DELETE ON public.delivery FOR EACH ROW EXECUTE FUNCTION public.delivery_count();
CREATE TRIGGER delivery_count_state AFTER UPDATE OF state ON public.delivery FOR EACH ROW WHEN ((old.state <> new.state)) EXECUTE FUNCTION public.delivery_count();
CREATE TRIGGER fax_count_rows AFTER INSERT OR DELETE ON public.fax FOR EACH ROW EXECUTE FUNCTION public.fax_count();
CREATE TRIGGER fax_count_state AFTER UPDATE OF state ON public.fax FOR EACH ROW WHEN ((old.state <> new.state)) EXECUTE FUNCTION public.fax_count();
